"""A ring of simulated nodes: no sockets, no threads, and no waiting."""

import json
import math
from collections.abc import Sequence

from dht import _dht
from dht._json import loads
from dht._ring import ASK_TIMEOUT_SECONDS
from dht._transport import Transport
from dht._turns import Turns

TRACE_LINES = 2000
"""How many lines of trace a virtual cluster keeps unless told otherwise."""

_OBSERVER = "observer"


class VirtualRing:
    """Runs the nodes of a cluster in virtual time.

    Args:
        seed: Decides all that chance decides.
        lease: How long a server is believed alive, in seconds.
        heartbeat: How often servers renew their leases, in seconds.
        trace_lines: How many lines of trace are kept.
        check_rules: Whether every step is judged by the rules of the protocol.
    """

    def __init__(
        self,
        seed: int,
        *,
        lease: float,
        heartbeat: float,
        trace_lines: int = TRACE_LINES,
        check_rules: bool = False,
    ) -> None:
        self._sim = _dht.SimCluster(
            seed,
            lease_ms=milliseconds(lease),
            heartbeat_ms=milliseconds(heartbeat),
            trace_lines=trace_lines,
            check_rules=check_rules,
        )
        self._leader = ""
        self._lives = 0
        self._clients = 0
        self._observes = False
        self._turns = Turns()

    def start_leader(self, *, new: bool) -> str:
        """Start the view leader; `new`: its ring never had one. Return its address."""
        self._leader = self._sim.start_leader(0) if new else self._sim.start_leader()
        return self._leader

    def start_server(self, name: str) -> str:
        """Start a server, where it ran before if it did; return its address, before it joins."""
        return self._sim.start_server(name, self._life())

    def kill(self, name: str) -> None:
        """End a node at once, without a word."""
        self._sim.kill(name)

    def pause(self, name: str) -> None:
        """Have a node stand still."""
        self._sim.pause(name)

    def resume(self, name: str) -> None:
        """Let a node go on."""
        self._sim.resume(name)

    def leave(self, name: str, timeout: float) -> bool:
        """Have a server leave the ring; return whether it has in time."""
        return self._sim.leave(name, milliseconds(timeout))

    def has_left(self, name: str) -> bool:
        """Return whether a server that was to leave has left since."""
        return not self._sim.is_alive(name)

    def transport(self, server: str, timeout: float) -> tuple[str, Transport]:
        """Return the name of a new client, and what carries its calls."""
        self._clients += 1
        name = f"client {self._clients}"
        self._sim.start_client(name, self._life(), milliseconds(timeout))
        return name, VirtualTransport(self._sim, self._turns, name, server, self._leader, timeout)

    def ask(self, address: str, request: str) -> str:
        """Send a request to a server, and return its reply; one with `error` where none came."""
        if not self._observes:
            self._observes = True
            self._sim.start_client(_OBSERVER, self._life(), milliseconds(ASK_TIMEOUT_SECONDS))
        try:
            return self._sim.ask(_OBSERVER, address, request, milliseconds(ASK_TIMEOUT_SECONDS))
        except _dht.OutcomeUnknown as error:
            return json.dumps({"error": str(error)})

    def view(self) -> str | None:
        """Return what the view leader answers `query_servers`; `None` where it does not."""
        return self._sim.view()

    def holders(self, key: str, addresses: list[str]) -> list[str]:
        """Return which of these servers have a copy of a name, a JSON string."""
        return [address for address in self._sim.holders(key) if address in addresses]

    def sleep(self, seconds: float) -> None:
        """Let time pass; a signal ends it."""
        advance(self._sim, seconds)

    def monotonic(self) -> float:
        """Return the time."""
        return self._sim.now_ms / 1000

    def cut(self, from_name: str, to_name: str) -> None:
        """Let nothing pass from one node to another."""
        self._sim.cut(from_name, to_name)

    def heal(self) -> None:
        """Let everything pass."""
        self._sim.heal()

    def trace(self) -> str:
        """Return what happened."""
        return self._sim.trace()

    def close(self) -> None:
        """Leave everything as it is, to be looked at: nothing happens where nobody asks."""

    def _life(self) -> int:
        self._lives += 1
        return self._lives


class VirtualTransport:
    """Carries the calls of one simulated client.

    Args:
        sim: The cluster.
        turns: Who lets time pass among threads that wait for its locks.
        name: The client's node.
        server: The address of the client's server.
        leader: The address of the view leader.
        timeout: How long a reply is waited for, in seconds.
    """

    def __init__(
        self,
        sim: _dht.SimCluster,
        turns: Turns,
        name: str,
        server: str,
        leader: str,
        timeout: float,
    ) -> None:
        self._sim = sim
        self._turns = turns
        self._name = name
        self._server = server
        self._leader = leader
        self._timeout_ms = milliseconds(timeout)
        self._closed = False

    @property
    def real(self) -> bool:
        """False: time passes where somebody waits, and nobody waits at once."""
        return False

    def call_server(self, request: str) -> str:
        """Send a request to the client's server and return its reply."""
        return self._call(self._server, request, self._timeout_ms)

    def call_viewleader(self, request: str) -> str:
        """Send a request to the view leader and return its reply."""
        if '"lock_' not in request:
            return self._call(self._leader, request, self._timeout_ms)
        fields = loads(request)
        lock, client = str(fields["lockid"]), str(fields["requestor"])
        if fields["cmd"] == "lock_get":
            self._turns.asks(lock, client)
        status = None
        try:
            reply = self._call(self._leader, request, self._timeout_ms)
            status = loads(reply).get("status")
        finally:
            if status in ("granted", "retry"):
                self._turns.is_told(lock, client, granted=status == "granted")
            else:
                self._turns.leaves(lock, client)
        return reply

    def call_address(self, address: str, request: str, timeout_ms: int | None = None) -> str:
        """Send a request to the server at `HOST:PORT` and return its reply."""
        wanted = self._timeout_ms if timeout_ms is None else min(timeout_ms, self._timeout_ms)
        return self._call(address, request, wanted)

    def setr(self, key: str, value: str) -> list[str]:
        """Store a value; return the addresses of the servers that hold it."""
        (result,) = self.setr_many([(key, value)])
        if isinstance(result, BaseException):
            raise result
        return result

    def getr(self, key: str) -> str | None:
        """Return the last acknowledged value; `None` where there is none."""
        (result,) = self.getr_many([key])
        if isinstance(result, BaseException):
            raise result
        return result

    def setr_many(self, pairs: Sequence[tuple[str, str]]) -> list[list[str] | _dht.DhtError]:
        """Store many values at once; return what became of each, in their order."""
        return self._open().setr_many(self._name, list(pairs))

    def getr_many(self, keys: Sequence[str]) -> list[str | _dht.DhtError | None]:
        """Read many names at once; return what became of each, in their order."""
        return self._open().getr_many(self._name, list(keys))

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass, unless a thread that holds the lock goes on first."""
        if self._turns.wait():
            advance(self._sim, seconds)

    def monotonic(self) -> float:
        """Return the virtual time since the cluster began, in seconds."""
        return self._sim.now_ms / 1000

    def close(self) -> None:
        """End the client. Closing again does nothing."""
        if not self._closed:
            self._closed = True
            try:
                self._sim.kill(self._name)
            except (_dht.BrokenRule, RuntimeError):
                return  # what is of no use any more need not be closed

    def _call(self, address: str, request: str, timeout_ms: int) -> str:
        return self._open().ask(self._name, address, request, timeout_ms)

    def _open(self) -> _dht.SimCluster:
        self._turns.uses()
        if self._closed:
            raise ValueError("the client is closed")
        return self._sim


def advance(sim: _dht.SimCluster, seconds: float) -> None:
    """Let time pass, in whole milliseconds, rounded up."""
    sim.advance(math.ceil(seconds * 1000))


def milliseconds(seconds: float) -> int:
    """Return a span in whole milliseconds, one at least."""
    return max(1, round(seconds * 1000))
