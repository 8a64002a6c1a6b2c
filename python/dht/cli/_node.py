"""What `viewleader.py` and `server.py` share: find a port, run, print, stop."""

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

from dht import _dht
from dht._environment import py2_wanted
from dht.cli import _output
from dht.cli._notes import lines

_POLL_MS = 200  # how long SIGTERM may wait

_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})

Start = Callable[[int], _dht.Node]


def run(
    prog: str,
    start: Start,
    ports: Sequence[int],
    port: int | None,
    *,
    quiet: bool,
    drain_s: float | None = None,
) -> int:
    """Run a node until Ctrl-C or SIGTERM.

    Args:
        prog: The program's name, for errors.
        start: Starts the node on a port.
        ports: What to try where no port was asked for.
        port: The port that was asked for; `None` for the first of `ports` that is free.
        quiet: Whether to leave out servers that come and go.
        drain_s: How long SIGTERM lets a server hand over what it holds, in seconds; `None` where
            there is nothing to hand over.

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
    return _serve(prog, node, greeting, quiet=quiet, drain_s=drain_s)


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


class _Unread(SystemExit):
    """A signal came while a line waited for a reader, who may never take it."""


class _Stopping:
    """What SIGTERM has asked for: a server that leaves the ring, or the end at once.

    Args:
        node: The node.
        drain_s: How long it may hand over what it holds, in seconds; `None` for a node that holds
            nothing.
    """

    def __init__(self, node: _dht.Node, drain_s: float | None) -> None:
        self._node = node
        self._drain_s = drain_s
        self._end_at: float | None = None
        self._ended = False
        self.left = False

    def terminate(self, number: int, frame: FrameType | None) -> None:
        """Leave; the second time, end."""
        if self._drain_s is None or self._end_at is not None:
            self._ended = True
        else:
            self._end_at = time.monotonic() + self._drain_s
            self._node.leave(0)
        if _output.writing():
            raise _Unread(0)

    def note(self, kind: str) -> None:
        """Take in what the node says of its leaving."""
        self.left |= kind == "left"
        self._ended |= kind == "leader_away" and self._end_at is not None

    @property
    def now(self) -> bool:
        """Whether the node shall end at once."""
        return self._ended or (self._end_at is not None and time.monotonic() >= self._end_at)

    @property
    def forced(self) -> bool:
        """Whether a server ends that was to leave, and has not."""
        return self._end_at is not None and not self.left


def _serve(
    prog: str, node: _dht.Node, greeting: list[str], *, quiet: bool, drain_s: float | None
) -> int:
    stopping = _Stopping(node, drain_s)
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stopping.terminate) if main_thread else None
    try:
        with contextlib.suppress(_Unread):
            _output.out(greeting)  # whoever reads it may send a signal at once
        status = None
        while status is None:
            with contextlib.suppress(_Unread):
                status = _step(prog, node, stopping, quiet=quiet)
        return status
    except RuntimeError as error:
        _output.err([f"{prog}: error: {error}"])
        return 1
    finally:
        _stop(node)
        if main_thread:
            signal.signal(signal.SIGTERM, before)


def _step(prog: str, node: _dht.Node, stopping: _Stopping, *, quiet: bool) -> int | None:
    """Wait for notes and print them; return the exit status once the node has ended."""
    if stopping.now:
        node.stop()
    notes = node.notes(_POLL_MS)
    if notes is not None:
        for kind, _ in notes:
            stopping.note(kind)
        _print(notes, py2=py2_wanted(), quiet=quiet)
        return None
    if stopping.left:
        return 0
    if not stopping.now:
        _output.err([f"{prog}: error: stopped unexpectedly"])
        return 1
    if stopping.forced:
        _output.err([f"{prog}: error: ended before others had all that this server held"])
        return 1
    return 0


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
