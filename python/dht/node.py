"""View leaders and servers that run inside a Python program, each on a thread of its own."""

import atexit
import json
import os
import sys
import time
import weakref
from _thread import allocate_lock  # what threading.Lock is, without importing threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dht import _dht, _home
from dht._limits import (
    MESSAGE_BYTES_MAX,
    TRANSFER_BYTES_PER_S,
    TRANSFER_BYTES_PER_S_MAX,
    checked_message_bytes,
)

if TYPE_CHECKING:  # loaded when they are asked for
    from dht._log import Reader
    from dht.events import Events
    from dht.statistics import LeaderStatistics, ServerStatistics

_JOIN_POLL_SECONDS = 0.002

EXIT_WAIT_MS = 1_000

_STATISTICS = '{"cmd": "dht_stats", "dht": 1}'


class _Runner(ABC):
    """Starts, names and stops one node; the kinds of node differ only in how they are started.

    All methods may be called from any thread.
    """

    _logger_name: ClassVar[str]

    def __init__(self) -> None:
        self._node: _dht.Node | None = None
        self._pid = 0
        self._log: Reader | None = None
        self._changing = allocate_lock()

    @abstractmethod
    def _launch(self) -> _dht.Node:
        """Start the native node."""

    def start(self) -> Self:
        """Start listening. Starting again does nothing.

        Returns:
            The object itself.

        Raises:
            OSError: The port cannot be bound.
            RuntimeError: It runs in the parent process, and this is a forked child.
        """
        self._begin()
        return self

    def stop(self) -> None:
        """Stop and wait for the thread. Stopping again does nothing.

        Raises:
            RuntimeError: It runs in the parent process, and this is a forked child.
        """
        self._check_home()
        with self._changing:
            node, self._node = self._node, None
            log, self._log = self._log, None
            _running.pop(id(self), None)
        if node is not None:
            node.stop()
        if log is not None:
            log.finish()

    def events(self, timeout: float | None = None) -> "Events":
        """Return an iterator over what happens on the node from now on: what the scripts print.

        It waits for each next event, and ends when the node stops. Ctrl-C ends a wait. Several
        iterators may be open at once; each gets every event. Those that nobody takes are kept up
        to a limit (see `dht.events.Events`).

        Args:
            timeout: How long to wait for each next event, in seconds; `None` for ever.

        Returns:
            An iterator of events, which is a context manager too.

        Raises:
            TimeoutError: While iterating: no event came in time.
            RuntimeError: The node is not running, or runs in the parent of this forked child.

        Example:
            >>> with dht.ViewLeader() as leader:
            ...     events = leader.events(timeout=5)
            ...     with dht.Server(leader.address):
            ...         event = next(event for event in events if event.kind == "joined")
            >>> event.epoch  # it has the `address` and the `position` of the server as well
            1
        """
        global _loads_events
        self._check_home()
        _loads_events = True  # before it is asked whether the node still runs, see _stop_all
        node = self._started()
        from dht.events import Events

        return Events(self, node.listen(), timeout)

    @property
    def address(self) -> str:
        """`HOST:PORT` by which this machine reaches the node; raises RuntimeError if stopped."""
        return self._started().address

    @property
    def port(self) -> int:
        """The port that the node listens on; raises RuntimeError if stopped."""
        return self._started().port

    def _begin(self) -> _dht.Node | None:
        """Start the native node; `None` where it runs already."""
        self._check_home()
        with self._changing:
            if self._node is not None:
                return None
            node = self._node = self._launch()
            self._pid = os.getpid()
            _running[id(self)] = self
            if "logging" in sys.modules:  # else nobody can have asked for it
                from dht._log import reader

                self._log = reader(self._logger_name, node)
            return node

    def _started(self) -> _dht.Node:
        node = self._node
        if node is None:
            # A daemon thread is not to hear of a node that the end of the interpreter has stopped.
            _dht.stay_at_end()
            raise RuntimeError("not running; call start() first, or use `with`")
        return node

    def _is_here(self) -> bool:
        return self._node is None or self._pid == os.getpid()

    def _check_home(self) -> None:
        if self._node is not None:
            _home.check(self, self._pid)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; in a forked child there is nothing to stop."""
        if self._is_here():
            self.stop()


class ViewLeader(_Runner):
    """A view leader on a thread of this process.

    Args:
        port: The port; 0 takes any free one.
        bind: The local address to listen on; empty for all interfaces.
        advertise: The host by which others reach servers on this host.
        lease: How long a server is believed alive after its last heartbeat, in seconds.
        listen: How long it listens after its start for servers of a ring before, in seconds; 0 for
            a ring that is certainly new, which is then ready at once.
        give_up_after: After how many seconds a range whose holders stay silent starts again
            empty; `None` for never.
        message_bytes_max: The longest message that is accepted or sent, in bytes.
        data_dir: The directory in which it keeps its record, and from which it goes on after a
            restart; it is made where there is none. `None`: no record.
        fsync: When the record is synced to the disk: `"always"`, before anybody is told of it;
            `"interval:MS"`, so many milliseconds later at most, or `"never"`, which may lose what
            was told with the power, though not with the process.

    Raises:
        OSError: While it starts: the port cannot be bound, or the directory is in use, cannot be
            read or cannot be written.
        ValueError: `message_bytes_max` is below 1. While it starts: `fsync` is none of these.

    Example:
        >>> with ViewLeader(bind="127.0.0.1") as leader:
        ...     leader.address == f"127.0.0.1:{leader.port}"
        True
    """

    _logger_name = "dht.viewleader"

    def __init__(
        self,
        port: int = 0,
        *,
        bind: str = "",
        advertise: str | None = None,
        lease: float = 30.0,
        listen: float = 0.4,
        give_up_after: float | None = None,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        data_dir: "str | os.PathLike[str] | None" = None,
        fsync: str = "always",
    ) -> None:
        super().__init__()
        self._record = (data_dir, fsync)
        longest = checked_message_bytes(message_bytes_max)
        self._options = (port, bind, advertise, lease, listen, give_up_after, longest)

    def statistics(self) -> "LeaderStatistics":
        """Return the members and what becomes of the slots, as the view leader sees them now.

        Raises:
            ConnectionError: It does not answer.
            RuntimeError: It is not running.

        Example:
            >>> leader.statistics().slots_settled
            10000
        """
        from dht.statistics import of_leader

        client = _dht.Client(viewleader=self.address)
        try:
            view = client.call_viewleader('{"cmd": "query_servers"}')
            return of_leader(_answer(view), _answer(client.call_viewleader(_STATISTICS)))
        finally:
            client.close()

    def _launch(self) -> _dht.Node:
        port, bind, advertise, lease, listen, give_up_after, message_bytes_max = self._options
        return _dht.Node.viewleader(
            bind=bind,
            port=port,
            advertise=advertise,
            lease_ms=milliseconds(lease),
            listen_ms=max(0, round(listen * 1000)),
            give_up_after_ms=None if give_up_after is None else milliseconds(give_up_after),
            message_bytes_max=message_bytes_max,
            quiet=True,
            data_dir=self._record[0],
            fsync=self._record[1],
        )


class Server(_Runner):
    """A storage server on a thread of this process.

    Args:
        viewleader: `HOST`, whose ports 39000 to 39009 are tried in order, or `HOST:PORT`.
        port: The port; 0 takes any free one.
        bind: The local address to listen on; empty for all interfaces.
        advertise: The `HOST` or `HOST:PORT` by which others reach this server.
        heartbeat: How often the lease is renewed, in seconds.
        transfer_bytes_per_s: How many bytes a second it gives to servers that join, to all of them
            together, while clients ask it for something. As many as it can at other times, of what
            has one copy left, and where it takes over from another; 0: always as many as it can.
        message_bytes_max: The longest message that is accepted or sent, in bytes.
        join_timeout: How long `start` waits for the view leader to take the server into the view,
            in seconds. It goes on trying after that.
        data_dir: The directory in which it keeps what it holds, and from which it goes on after a
            restart; it is made where there is none. `None`: its data end with it.
        fsync: When what it holds is synced to the disk: `"always"`, before anybody is told of it;
            `"interval:MS"`, so many milliseconds later at most, which may lose what was told in
            between; or `"never"`, which may lose more with the power, though nothing with the
            process.

    Raises:
        OSError: While it starts: the port cannot be bound, or the directory is in use, cannot be
            read or cannot be written.
        ValueError: `transfer_bytes_per_s` is negative or too large, or `message_bytes_max` is below
            1. While it starts: `fsync` is none of these.

    Example:
        >>> with ViewLeader() as leader, Server(leader.address) as server:
        ...     print(server.statistics().keys)
        0
    """

    _logger_name = "dht.server"

    def __init__(
        self,
        viewleader: str = "localhost",
        port: int = 0,
        *,
        bind: str = "",
        advertise: str | None = None,
        heartbeat: float = 10.0,
        transfer_bytes_per_s: int = TRANSFER_BYTES_PER_S,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        join_timeout: float = 5.0,
        data_dir: "str | os.PathLike[str] | None" = None,
        fsync: str = "always",
    ) -> None:
        super().__init__()
        self._data = (data_dir, fsync)
        rate = transfer_bytes_per_s
        longest = checked_message_bytes(message_bytes_max)
        self._options = (viewleader, port, bind, advertise, heartbeat, rate, longest)
        if not 0 <= transfer_bytes_per_s <= TRANSFER_BYTES_PER_S_MAX:
            raise ValueError(
                f"transfer_bytes_per_s is {transfer_bytes_per_s}; "
                f"give a number of bytes from 0, for no bound, to {TRANSFER_BYTES_PER_S_MAX}"
            )
        self._join_timeout = join_timeout

    def start(self) -> Self:
        """Start listening, and wait until the server is in the view, or `join_timeout` has passed.

        Starting again does nothing.

        Returns:
            The object itself.

        Raises:
            OSError: The port cannot be bound.
            RuntimeError: It runs in the parent process, and this is a forked child.
        """
        node = self._begin()
        if node is not None:
            try:
                self._wait_joined(node)
            except BaseException:  # such as Ctrl-C: `with` has not begun, so nobody would stop it
                self.stop()
                raise
        return self

    def statistics(self) -> "ServerStatistics":
        """Return how much the server holds, and what it knows of the ring, now.

        Raises:
            ConnectionError: It does not answer.
            RuntimeError: It is not running.

        Example:
            >>> server.statistics().keys
            0
        """
        from dht.statistics import of_server

        client = _dht.Client(server=self.address)
        try:
            return of_server(_answer(client.call_server(_STATISTICS)))
        finally:
            client.close()

    def leave(self, timeout: float = 60.0) -> None:
        """Leave the ring for good: others get this server's data first, then it stops.

        Clients see no error meanwhile. The last server of a ring leaves at once: with `data_dir` it
        has its data when it is started again, without one they are lost.

        Args:
            timeout: How long to wait, in seconds.

        Raises:
            TimeoutError: The server still holds data that others need, such as while no view
                leader answers. It goes on trying; `stop` ends it at once.
            RuntimeError: The server is not running, or runs in the parent of this forked child.
        """
        self._check_home()
        if not self._started().leave(milliseconds(timeout)):
            raise TimeoutError(
                f"others do not have all of this server's data after {timeout:g} s; "
                "wait longer, or stop() and rely on the other copies"
            )
        self.stop()

    def _wait_joined(self, node: _dht.Node) -> None:
        deadline = time.monotonic() + self._join_timeout
        client = _dht.Client(server=node.address)
        try:
            while self._node is node and time.monotonic() < deadline:
                if json.loads(client.call_server(_STATISTICS)).get("epoch"):
                    break
                time.sleep(_JOIN_POLL_SECONDS)
        finally:
            client.close()

    def _launch(self) -> _dht.Node:
        viewleader, port, bind, advertise, heartbeat, rate, message_bytes_max = self._options
        return _dht.Node.server(
            viewleader=viewleader,
            bind=bind,
            port=port,
            advertise=advertise,
            heartbeat_ms=milliseconds(heartbeat),
            transfer_bytes_per_s=rate,
            message_bytes_max=message_bytes_max,
            quiet=True,
            data_dir=self._data[0],
            fsync=self._data[1],
        )


def milliseconds(seconds: float) -> int:
    """Return a span in whole milliseconds, one at least."""
    return max(1, round(seconds * 1000))


def _answer(text: str) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(text)
    if "error" in reply:
        raise ConnectionError(reply["error"])
    return reply


# Weak, so that a node that nobody holds any more can go.
_running: weakref.WeakValueDictionary[int, _Runner] = weakref.WeakValueDictionary()

_importer_pid = os.getpid()

_loads_events = False
"""Whether a thread has loaded `dht.events`, or is about to."""


@atexit.register
def _stop_all() -> None:
    if os.getpid() == _importer_pid:
        # What daemon threads ask of nodes that end is not to come back to them as an error.
        _dht.end_calls()
    for runner in list(_running.values()):
        if runner._pid == os.getpid():  # a forked child has no thread to wait for
            runner.stop()
    if os.getpid() == _importer_pid:
        if _loads_events:
            # This waits for daemon threads that load it: none may while the interpreter goes.
            import dht.events  # noqa: F401
        # Whoever waited for a node on a daemon thread needs the interpreter once more.
        _dht.end_waits(EXIT_WAIT_MS)
