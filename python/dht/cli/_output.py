"""Output that never raises: a reader may go away, and a name hold anything."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # a command does without them
    from collections.abc import Callable, Iterable
    from typing import TextIO

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells give it."""

_writing = False
_lost: set[int] = set()  # streams of which something could not be written


def prepare() -> None:
    """Let output carry every string: what has no bytes, such as a lone surrogate, is escaped."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def out(lines: Iterable[str]) -> bool:
    """Print lines on standard output at once; say whether somebody can still read them."""
    return _write(sys.stdout, lines)


def err(lines: Iterable[str]) -> bool:
    """Print lines on standard error at once; say whether somebody can still read them."""
    return _write(sys.stderr, lines)


def writing() -> bool:
    """Return whether output is under way, which lasts as long as its reader pleases."""
    return _writing


def _write(stream: TextIO | None, lines: Iterable[str]) -> bool:
    global _writing
    text = "".join(f"{line}\n" for line in lines)
    if stream is None or not text or id(stream) in _lost:
        return stream is not None and id(stream) not in _lost
    _writing = True
    try:
        stream.write(text)
        stream.flush()
    except BlockingIOError:
        pass  # a pipe that does not block is full: what it cannot take now is lost
    except OSError:
        _lost.add(id(stream))
        _silence(stream)
        return False
    except (KeyboardInterrupt, SystemExit):
        _silence(stream)  # else the rest would wait for the reader once more, at exit
        raise
    finally:
        _writing = False
    return True


def _flush(stream: TextIO | None) -> None:
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass  # no file behind the stream: nothing can fail there at exit


def guarded(body: Callable[[], int]) -> int:
    """Run a command; turn Ctrl-C into its exit status instead of a traceback."""
    prepare()
    try:
        return body()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)  # of what `--help` prints, while a missing reader can be forgiven
