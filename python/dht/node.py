"""View leaders and servers that run inside a Python program, each on a thread of its own."""

import atexit
import json
import os
import time
import weakref
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from dht import _dht
from dht._limits import MESSAGE_BYTES_MAX

_JOIN_POLL_SECONDS = 0.002


class _Runner(ABC):
    """Starts, names and stops one node; the kinds of node differ only in how they are started."""

    def __init__(self) -> None:
        self._node: _dht.Node | None = None
        self._pid = 0

    @abstractmethod
    def _launch(self) -> _dht.Node:
        """Start the native node."""

    def start(self) -> Self:
        """Start listening. Starting again does nothing.

        Returns:
            The object itself.

        Raises:
            OSError: The port cannot be bound.
        """
        if self._node is None:
            self._node = self._launch()
            self._pid = os.getpid()
            _running[id(self)] = self
        return self

    def stop(self) -> None:
        """Stop and wait for the thread. Stopping again does nothing."""
        _running.pop(id(self), None)
        node, self._node = self._node, None
        if node is not None:
            node.stop()

    @property
    def address(self) -> str:
        """`HOST:PORT` by which this machine reaches the node; raises RuntimeError if stopped."""
        return self._started().address

    @property
    def port(self) -> int:
        """The port that the node listens on; raises RuntimeError if stopped."""
        return self._started().port

    def _started(self) -> _dht.Node:
        if self._node is None:
            raise RuntimeError("not running; call start() first, or use `with`")
        return self._node

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()


class ViewLeader(_Runner):
    """A view leader on a thread of this process.

    Args:
        port: The port; 0 takes any free one.
        bind: The local address to listen on; empty for all interfaces.
        advertise: The host by which others reach servers on this host.
        lease: How long a server is believed alive after its last heartbeat, in seconds.
        give_up_after: After how many seconds a range whose holders stay silent starts again
            empty; `None` for never.
        message_bytes_max: The longest message that is accepted or sent, in bytes.

    Example:
        >>> with ViewLeader() as leader:
        ...     print(leader.address)
        127.0.0.1:40123
    """

    def __init__(
        self,
        port: int = 0,
        *,
        bind: str = "",
        advertise: str | None = None,
        lease: float = 30.0,
        give_up_after: float | None = None,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        super().__init__()
        self._options = (port, bind, advertise, lease, give_up_after, message_bytes_max)

    def _launch(self) -> _dht.Node:
        port, bind, advertise, lease, give_up_after, message_bytes_max = self._options
        return _dht.Node.viewleader(
            bind=bind,
            port=port,
            advertise=advertise,
            lease_ms=milliseconds(lease),
            give_up_after_ms=None if give_up_after is None else milliseconds(give_up_after),
            message_bytes_max=message_bytes_max,
            quiet=True,
        )


class Server(_Runner):
    """A storage server on a thread of this process.

    Args:
        viewleader: `HOST`, whose ports 39000 to 39009 are tried in order, or `HOST:PORT`.
        port: The port; 0 takes any free one.
        bind: The local address to listen on; empty for all interfaces.
        advertise: The `HOST` or `HOST:PORT` by which others reach this server.
        heartbeat: How often the lease is renewed, in seconds.
        message_bytes_max: The longest message that is accepted or sent, in bytes.
        join_timeout: How long `start` waits for the view leader to take the server into the view,
            in seconds. It goes on trying after that.
    """

    def __init__(
        self,
        viewleader: str = "localhost",
        port: int = 0,
        *,
        bind: str = "",
        advertise: str | None = None,
        heartbeat: float = 10.0,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        join_timeout: float = 5.0,
    ) -> None:
        super().__init__()
        self._options = (viewleader, port, bind, advertise, heartbeat, message_bytes_max)
        self._join_timeout = join_timeout

    def start(self) -> Self:
        """Start listening, and wait until the server is in the view, or `join_timeout` has passed.

        Returns:
            The object itself.

        Raises:
            OSError: The port cannot be bound.
        """
        if self._node is None:
            super().start()
            try:
                self._wait_joined()
            except BaseException:  # such as Ctrl-C: `with` has not begun, so nobody would stop it
                self.stop()
                raise
        return self

    def leave(self, timeout: float = 60.0) -> None:
        """Leave the ring for good: others get this server's data first, then it stops.

        Clients see no error meanwhile. The last server of a ring leaves at once, and its data are
        lost.

        Args:
            timeout: How long to wait, in seconds.

        Raises:
            TimeoutError: The server still holds data that others need, such as while no view
                leader answers. It goes on trying; `stop` ends it at once.
            RuntimeError: The server is not running.
        """
        if not self._started().leave(milliseconds(timeout)):
            raise TimeoutError(
                f"others do not have all of this server's data after {timeout:g} s; "
                "wait longer, or stop() and rely on the other copies"
            )
        self.stop()

    def _wait_joined(self) -> None:
        deadline = time.monotonic() + self._join_timeout
        client = _dht.Client(server=self.address)
        try:
            while time.monotonic() < deadline:
                stats = json.loads(client.call_server('{"cmd": "dht_stats", "dht": 1}'))
                if stats.get("epoch"):
                    break
                time.sleep(_JOIN_POLL_SECONDS)
        finally:
            client.close()

    def _launch(self) -> _dht.Node:
        viewleader, port, bind, advertise, heartbeat, message_bytes_max = self._options
        return _dht.Node.server(
            viewleader=viewleader,
            bind=bind,
            port=port,
            advertise=advertise,
            heartbeat_ms=milliseconds(heartbeat),
            message_bytes_max=message_bytes_max,
            quiet=True,
        )


def milliseconds(seconds: float) -> int:
    """Return a span in whole milliseconds, one at least."""
    return max(1, round(seconds * 1000))


# Weak, so that a node that nobody holds any more can go.
_running: weakref.WeakValueDictionary[int, _Runner] = weakref.WeakValueDictionary()


@atexit.register
def _stop_all() -> None:
    for runner in list(_running.values()):
        if runner._pid == os.getpid():  # a forked child has no thread to wait for
            runner.stop()
