"""A whole ring in one process: real, over sockets, or simulated in virtual time.

Example:
    >>> import dht
    >>> with dht.Cluster(servers=4, clock="virtual", seed=1) as cluster:
    ...     with cluster.client() as client:
    ...         client.setr("apple", 1)
    ...         cluster.servers[0].kill()
    ...         cluster.wait_settled()
    ...         client.getr("apple"), len(cluster.where("apple"))
    3
    (1, 3)
"""

import json
import os
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Literal, Self

from dht import _dht, _home
from dht._dht import BrokenRule
from dht._members import ClusterLeader, ClusterServer
from dht._options import ClusterOptions
from dht._recorded import RecordedTransport, Recorder
from dht._view import View, by_preference, read_view, unsettled
from dht.client import Client
from dht.testing import STEPS_MAX, History

__all__ = ["BrokenRule", "Cluster", "ClusterLeader", "ClusterServer", "Party", "View"]

Party = ClusterServer | ClusterLeader | Client
"""What a partition can cut off."""

SETTLE_SECONDS_MIN = 10.0
SETTLE_LEASES = 2
_POLL_SECONDS: Final = {"real": (0.001, 0.02), "virtual": (0.01, 0.1)}


class Cluster:
    """A view leader, servers and clients in this process; a context manager.

    With `clock="real"` every node is a `dht.ViewLeader` or `dht.Server` that listens on a free port
    of 127.0.0.1. With `clock="virtual"` the very same protocol runs in a simulator: no sockets, no
    threads, no waiting. There, time passes only while a method or a client waits for something, and
    one seed decides everything that chance decides, so the same calls with the same seed do the
    same again.

    It may be used from several threads. In virtual time each call runs to its end before the next
    one begins; to have operations overlap, use `setr_many` and `getr_many`. A thread that waits for
    a lock of another thread lets no virtual time pass, but waits until that one has used the
    cluster again; unless it has ended, waits for this one, or does nothing for a real second.

    Args:
        servers: How many servers there are at the start.
        clock: `real` or `virtual`.
        seed: For `virtual`: what decides all that chance decides, from 0 to 2**64 - 1; drawn where
            it is `None`, and to be read from `seed`.
        lease: How long the view leader believes a server alive after its last heartbeat, in
            seconds. Servers send heartbeats three times as often, and every 10 s at least.
        trace_lines: For `virtual`: how many lines `trace` gives at most, 2000 by default; 0 for
            none.
        check_rules: For `virtual`: whether every step of every node is judged by the rules of the
            protocol, and the first one that breaks a rule raises BrokenRule. It finds bugs of `dht`
            itself; a few hundred names make it slow.
        data_dir: For `real`: a directory in which each node keeps what it has, in one of its own.
            `restart` then brings a node back with it, and another cluster goes on from it. `None`:
            all live in memory.

    Raises:
        ValueError: An option is out of range, or makes no sense with this clock.
        TypeError: An option is no number.

    Example:
        >>> with Cluster(servers=3, lease=1.0) as cluster:
        ...     with cluster.client() as client:
        ...         client.setr("apple", {"colour": "red"})
        ...         client.getr("apple")
        3
        {'colour': 'red'}
    """

    def __init__(
        self,
        servers: int = 3,
        clock: Literal["real", "virtual"] = "real",
        seed: int | None = None,
        *,
        lease: float = 30.0,
        trace_lines: int | None = None,
        check_rules: bool = False,
        data_dir: "str | os.PathLike[str] | None" = None,
    ) -> None:
        options = ClusterOptions(servers, clock, seed, lease, trace_lines, check_rules, data_dir)
        self._options = options
        self._ring, self._seed = options.make_ring()
        self._recorder = Recorder(self._ring.monotonic)
        self._leader = ClusterLeader(self._ring)
        self._servers: list[ClusterServer] = []
        self._clients: list[tuple[Client, str]] = []
        self._state: Literal["new", "running", "stopped"] = "new"
        self._pid = 0

    def start(self) -> Self:
        """Start the view leader and the servers, and wait until the ring is settled.

        `with` does so. A cluster can be started once.

        Returns:
            The object itself.

        Raises:
            OSError: No port is free.
            TimeoutError: The ring did not settle.
            RuntimeError: It was started before.
        """
        if self._state != "new":
            raise RuntimeError("a cluster can be started once; make another")
        self._state = "running"
        self._pid = os.getpid()
        try:
            self._leader._begin(new=True)
            for _ in range(self._options.servers):
                self.add_server()
            self.wait_settled()
        except BaseException:  # such as Ctrl-C: `with` has not begun, so nobody would stop it
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all clients and nodes. Stopping again does nothing.

        What a virtual cluster has done may still be looked at: `trace`, `history`.

        Raises:
            RuntimeError: It runs in the parent process, and this is a forked child.
        """
        if self._state != "running":
            return
        _home.check(self, self._pid)
        self._state = "stopped"
        for member in (self._leader, *self._servers):
            member._is_over()
        try:
            for client, _ in self._clients:
                client.close()
        finally:
            self._ring.close()

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
        if self._pid == os.getpid():
            self.stop()

    def __repr__(self) -> str:
        """Return the options and the state."""
        seed = "" if self._seed is None else f", seed={self._seed}"
        return (
            f"<Cluster of {len(self._servers)}, clock={self._options.clock!r}{seed}, {self._state}>"
        )

    @property
    def clock(self) -> Literal["real", "virtual"]:
        """`real` or `virtual`."""
        return self._options.clock

    @property
    def seed(self) -> int | None:
        """What decides all that chance decides in virtual time; `None` in real time."""
        return self._seed

    @property
    def servers(self) -> tuple[ClusterServer, ...]:
        """Every server that was ever added, in that order, whatever has become of it."""
        return tuple(self._servers)

    @property
    def viewleader(self) -> ClusterLeader:
        """The view leader."""
        return self._leader

    def add_server(self) -> ClusterServer:
        """Start one more server. It joins while time passes; `wait_settled` waits for that.

        Returns:
            The server.

        Raises:
            OSError: No port is free.
            RuntimeError: The cluster does not run.
        """
        self._check_running()
        server = ClusterServer(self._ring, len(self._servers) + 1)
        server._begin()
        self._servers.append(server)
        return server

    def client(self, server: ClusterServer | str | None = None, *, timeout: float = 5.0) -> Client:
        """Return a new client of this cluster, whose `setr` and `getr` are recorded.

        It is closed with the cluster, or before by `close` or `with`.

        Args:
            server: Whom `set`, `get`, `query_all_keys` and `print` ask, a server or its address;
                the first that runs where it is `None`.
            timeout: How long one call may take, in seconds of the cluster's clock.

        Raises:
            RuntimeError: The cluster does not run.
            ValueError: `timeout` is not above 0.

        Example:
            >>> with Cluster(clock="virtual", seed=1) as cluster:
            ...     client = cluster.client(cluster.servers[2])
            ...     client.set("mine", 1)
            ...     cluster.servers[2].keys()
            ['mine']
        """
        self._check_running()
        if not timeout > 0:
            raise ValueError(f"timeout is a number of seconds above 0, not {timeout}")
        if server is None:
            running = (each for each in self._servers if each.state == "running")
            server = next(running, None) or self._leader.address
        address = server if isinstance(server, str) else server.address
        name, transport = self._ring.transport(address, timeout)
        client = Client.over(RecordedTransport(transport, self._recorder))
        self._clients.append((client, name))
        return client

    def partition(
        self,
        a: Party | Iterable[Party],
        b: Party | Iterable[Party],
        *,
        one_way: bool = False,
    ) -> None:
        """Let nothing pass any more between two parties, or two groups of them, until `heal`.

        Nobody is told: a call waits until its time is up.

        Args:
            a: A server, the view leader, a client, or several of them.
            b: Likewise.
            one_way: Whether only what `a` sends to `b` is lost.

        Raises:
            RuntimeError: The clock is real: connections of one machine cannot be cut. Or the
                cluster does not run.
            ValueError: A client is not one of this cluster, or a party is on both sides.

        Example:
            >>> with Cluster(clock="virtual", seed=1, lease=2.0) as cluster:
            ...     cluster.partition(cluster.servers[0], cluster.viewleader)
            ...     cluster.advance(10)
            ...     len(cluster.view.servers)
            2
        """
        self._check_running()
        froms, tos = self._names(a), self._names(b)
        if both := set(froms) & set(tos):
            raise ValueError(f"{', '.join(sorted(both))} cannot be cut off from itself")
        for from_name in froms:
            for to_name in tos:
                self._ring.cut(from_name, to_name)
                if not one_way:
                    self._ring.cut(to_name, from_name)

    def heal(self) -> None:
        """End every partition. Servers that are killed or paused stay so.

        Raises:
            RuntimeError: The clock is real: nothing can have been cut. Or the cluster does not run.
        """
        self._check_running()
        self._ring.heal()

    def advance(self, seconds: float) -> None:
        """Let time pass: virtual time at once, real time by waiting. Ctrl-C ends it.

        Args:
            seconds: How long; virtual time passes in whole milliseconds, rounded up.

        Raises:
            ValueError: `seconds` is below 0.
            BrokenRule: With `check_rules`: the ring did what no ring may do.
        """
        self._check_running()
        if not seconds >= 0:
            raise ValueError(f"seconds is 0 or more, not {seconds}")
        self._ring.sleep(seconds)

    def monotonic(self) -> float:
        """Return the time of the cluster's clock, in seconds; it never goes back."""
        return self._ring.monotonic()

    def wait_settled(self, timeout: float | None = None) -> None:
        """Let time pass until the ring has taken in all that has happened.

        That is: the view has the servers that run, and not those that are killed or have left; a
        paused one may be there or not; and every value is on its three servers.

        Args:
            timeout: How long to wait, in seconds of the cluster's clock; twice the lease and 10 s
                where it is `None`.

        Raises:
            TimeoutError: It did not come to that; the text says what is missing.
            RuntimeError: The cluster does not run.
            BrokenRule: With `check_rules`: the ring did what no ring may do.
        """
        self._check_running()
        if timeout is None:
            timeout = SETTLE_LEASES * self._options.lease + SETTLE_SECONDS_MIN
        end = self._ring.monotonic() + timeout
        pause, pause_max = _POLL_SECONDS[self._options.clock]
        while missing := self._unsettled():
            if self._ring.monotonic() >= end:
                raise TimeoutError(f"not settled after {timeout:g} s: {missing}")
            self._ring.sleep(pause)
            pause = min(pause * 2, pause_max)

    def _unsettled(self) -> str:
        """Return what keeps the ring from being settled; nothing where it is."""
        text = self._view_text()
        return unsettled(text, self._servers) if text else self._no_leader()

    @property
    def view(self) -> View:
        """The view as the view leader has it now; in virtual time no time passes.

        Raises:
            NoViewLeader: It does not run, or does not answer.
            RuntimeError: The cluster does not run.
        """
        self._check_running()
        text = self._view_text()
        if text is None:
            raise _dht.NoViewLeader(self._no_leader())
        return read_view(text)

    def _view_text(self) -> str | None:
        return self._ring.view() if self._leader.state == "running" else None

    def _no_leader(self) -> str:
        return f"the view leader does not answer ({self._leader.state}); restart() or resume() it"

    def where(self, name: str) -> list[str]:
        """Return who has a copy of a name's value at this moment.

        Servers that are paused cannot say, and do not count. In real time a value that `set` gave
        to a single server counts as well.

        Args:
            name: The name.

        Returns:
            Addresses of running servers in the order in which the ring wants them to have the
            name: the primary first, once the ring is settled.

        Raises:
            NoViewLeader: It does not run, or does not answer.
            RuntimeError: The cluster does not run.

        Example:
            >>> with Cluster(servers=4, clock="virtual", seed=1) as cluster:
            ...     copies = cluster.client().setr("apple", 1)
            ...     cluster.where("apple") == dht.Ring(cluster.view.servers).replicas("apple")
            True
        """
        view = self.view
        running = [server.address for server in self._servers if server.state == "running"]
        holders = self._ring.holders(json.dumps(name), running)
        return by_preference(view, _dht.hash_key(name), holders)

    def history(self) -> History:
        """Return what this cluster's clients asked for with `setr` and `getr`, and were told.

        Times are microseconds of the cluster's clock since it was made. An operation that failed
        ends as `fail` where its error says that it did not happen, else as `info`.
        """
        return self._recorder.history

    def check_linearizable(self, *, steps_max: int = STEPS_MAX) -> int:
        """Check that all that clients were told so far is linearizable.

        Args:
            steps_max: How long to search, as for `dht.testing.check_linearizable`.

        Returns:
            How many operations were checked.

        Raises:
            NotLinearizable: It is not; the text says why.
            Undecided: `steps_max` was too few.
        """
        return self._recorder.history.check(steps_max=steps_max)

    def trace(self) -> str:
        """Return the last lines of what happened in virtual time, one event each.

        A line has the time in milliseconds, the node, and what came in (`<`) or went out (`>`).

        Raises:
            RuntimeError: The clock is real.
        """
        return self._ring.trace()

    def _names(self, parties: Party | Iterable[Party]) -> list[str]:
        if isinstance(parties, ClusterServer | ClusterLeader | Client):
            parties = [parties]
        return [self._name(party) for party in parties]

    def _name(self, party: Party) -> str:
        if isinstance(party, Client):
            for client, name in self._clients:
                if client is party:
                    return name
        elif party is self._leader or party in self._servers:
            return party._name
        raise ValueError(f"{party!r} is none of this cluster's servers, view leader or clients")

    def _check_running(self) -> None:
        if self._state != "running":
            hint = "use `with`" if self._state == "new" else "make another"
            raise RuntimeError(f"the cluster is not running; {hint}")
        _home.check(self, self._pid)
