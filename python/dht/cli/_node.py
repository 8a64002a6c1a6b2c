"""What `viewleader.py` and `server.py` share: find a port, run, print, stop."""

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType

from dht import _dht
from dht.cli import _output
from dht.cli._notes import lines
from dht.pyrepr import py2_wanted

_POLL_MS = 200  # how long SIGTERM may wait

_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})

Start = Callable[[int], _dht.Node]


def run(prog: str, start: Start, ports: Sequence[int], port: int | None, *, quiet: bool) -> int:
    """Run a node until Ctrl-C or SIGTERM.

    Args:
        prog: The program's name, for errors.
        start: Starts the node on a port.
        ports: What to try where no port was asked for.
        port: The port that was asked for; `None` for the first of `ports` that is free.
        quiet: Whether to leave out servers that come and go.

    Returns:
        The exit status.
    """
    _raise_file_limit()
    try:
        node = _first_free(start, ports) if port is None else _only(prog, start, port)
    except (OSError, ValueError) as error:
        _output.err([f"{prog}: error: {_reason(error)}"])
        return 1
    if node is None:
        _output.out(["Can't listen on any port, giving up"])
        return 1
    greeting = [] if port is None else [f"Listening on {node.address}"]
    return _serve(prog, node, greeting, quiet=quiet)


def _raise_file_limit() -> None:
    """Allow as many connections as the system does: a shell's usual 1,024 files are soon used."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _first_free(start: Start, ports: Sequence[int]) -> _dht.Node | None:
    for port in ports:
        _output.out([f"Trying to listen on {port}..."])
        try:
            return start(port)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise  # no other port would help
    return None


def _only(prog: str, start: Start, port: int) -> _dht.Node | None:
    if port != 0:
        _output.out([f"Trying to listen on {port}..."])
    try:
        return start(port)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        hint = "choose another with --port (0 takes any free one)"
        _output.err([f"{prog}: error: {_reason(error)}; {hint}"])
        return None


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__


def _serve(prog: str, node: _dht.Node, greeting: list[str], *, quiet: bool) -> int:
    stopping = threading.Event()
    py2 = py2_wanted()

    def terminate(number: int, frame: FrameType | None) -> None:
        stopping.set()
        if _output.writing():
            raise SystemExit(0)  # the reader may never take the rest

    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if main_thread else None
    try:
        _output.out(greeting)  # whoever reads it may send a signal at once
        while not stopping.is_set():
            notes = node.notes(_POLL_MS)
            if notes is None:
                _output.err([f"{prog}: error: stopped unexpectedly"])
                return 1
            _print(notes, py2=py2, quiet=quiet)
        node.stop()
        while (notes := node.notes(0)) is not None:
            _print(notes, py2=py2, quiet=quiet)
        return 0
    except RuntimeError as error:
        _output.err([f"{prog}: error: {error}"])
        return 1
    finally:
        _stop(node)
        if main_thread:
            signal.signal(signal.SIGTERM, before)


def _print(notes: list[tuple[str, str]], *, py2: bool, quiet: bool) -> None:
    text = lines(notes, py2=py2, quiet=quiet)
    # Nobody reading is no reason to stop serving.
    _output.out(text.out)
    _output.err(text.err)


def _stop(node: _dht.Node) -> None:
    """Stop the node; a second Ctrl-C meanwhile ends the process at once, without a traceback."""
    if threading.current_thread() is not threading.main_thread():
        node.stop()
        return

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(_output.INTERRUPTED)

    before = signal.signal(signal.SIGINT, leave)
    try:
        node.stop()
    finally:
        signal.signal(signal.SIGINT, before)
