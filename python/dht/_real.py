"""A ring of real nodes on free ports of 127.0.0.1, each on a thread of this process."""

import json
import time
from contextlib import ExitStack

from dht import _dht
from dht._ring import ASK_TIMEOUT_SECONDS, LEADER
from dht._transport import Transport
from dht.node import Server, ViewLeader, milliseconds

_BIND = "127.0.0.1"


class RealRing:
    """Runs the nodes of a cluster over TCP.

    Args:
        lease: How long a server is believed alive, in seconds.
        heartbeat: How often servers renew their leases, in seconds.
    """

    def __init__(self, lease: float, heartbeat: float) -> None:
        self._lease = lease
        self._heartbeat = heartbeat
        self._nodes: dict[str, ViewLeader | Server] = {}
        self._ports: dict[str, int] = {}
        self._leader = ""
        self._clients = 0

    def start_leader(self, *, new: bool) -> str:
        """Start the view leader; `new`: its ring never had one. Return its address."""
        port = self._ports.get(LEADER, 0)
        leader = ViewLeader(port, bind=_BIND, lease=self._lease)
        if new:
            leader = ViewLeader(port, bind=_BIND, lease=self._lease, listen=0.0)
        self._start(LEADER, leader)
        self._leader = leader.address
        return self._leader

    def start_server(self, name: str) -> str:
        """Start a server, where it ran before if it did; return its address, before it joins."""
        server = Server(
            self._leader,
            self._ports.get(name, 0),
            bind=_BIND,
            heartbeat=self._heartbeat,
            join_timeout=0.0,
        )
        self._start(name, server)
        return server.address

    def _start(self, name: str, node: ViewLeader | Server) -> None:
        node.start()
        self._nodes[name] = node
        self._ports[name] = node.port

    def kill(self, name: str) -> None:
        """End a node at once, without a word."""
        self._nodes.pop(name).stop()

    def pause(self, name: str) -> None:
        """Have a node stand still."""
        self._nodes[name]._started().pause()

    def resume(self, name: str) -> None:
        """Let a node go on."""
        self._nodes[name]._started().resume()

    def leave(self, name: str, timeout: float) -> bool:
        """Have a server leave the ring; return whether it has in time."""
        left = self._nodes[name]._started().leave(milliseconds(timeout))
        if left:
            self.kill(name)
        return left

    def has_left(self, name: str) -> bool:
        """Return whether a server that was to leave has left since."""
        return self._nodes[name]._started().leave(0)

    def transport(self, server: str, timeout: float) -> tuple[str, Transport]:
        """Return the name of a new client, and what carries its calls."""
        self._clients += 1
        client = _dht.Client(self._leader, server, timeout_ms=milliseconds(timeout))
        return f"client {self._clients}", client

    def view(self) -> str | None:
        """Return what the view leader answers `query_servers`; `None` where it does not."""
        observer = self._observer("localhost")
        try:
            reply = observer.call_viewleader('{"cmd": "query_servers", "dht": 1}')
        finally:
            observer.close()
        return None if "error" in json.loads(reply) else reply

    def holders(self, key: str, addresses: list[str]) -> list[str]:
        """Return which of these servers have a copy of a name, a JSON string."""
        request = f'{{"cmd": "get", "key": {key}}}'
        found = []
        for address in addresses:
            reply = json.loads(self.ask(address, request))
            if reply.get("status") == "ok":
                found.append(address)
        return found

    def ask(self, address: str, request: str) -> str:
        """Send a request to a server, and return its reply; one with `error` where none came."""
        observer = self._observer(address)
        try:
            return observer.call_server(request)
        except _dht.OutcomeUnknown as error:
            return json.dumps({"error": str(error)})
        finally:
            observer.close()

    def _observer(self, server: str) -> _dht.Client:
        return _dht.Client(self._leader, server, timeout_ms=milliseconds(ASK_TIMEOUT_SECONDS))

    def sleep(self, seconds: float) -> None:
        """Let time pass; a signal ends it."""
        time.sleep(seconds)

    def monotonic(self) -> float:
        """Return the time."""
        return time.monotonic()

    def cut(self, from_name: str, to_name: str) -> None:
        """Fail: nothing stands between sockets of one machine that could cut them."""
        raise _only_virtual("partition", "127.0.0.1 cannot be cut; pause() a server instead")

    def heal(self) -> None:
        """Fail: nothing was cut."""
        raise _only_virtual("heal", "127.0.0.1 cannot be cut, so nothing is to be healed")

    def trace(self) -> str:
        """Fail: nobody takes down what happens."""
        raise _only_virtual("trace", "only a simulated ring takes down what happens")

    def close(self) -> None:
        """End every node."""
        with ExitStack() as stack:
            while self._nodes:
                _, node = self._nodes.popitem()
                stack.callback(node.stop)


def _only_virtual(method: str, why: str) -> RuntimeError:
    return RuntimeError(f'{method}() needs clock="virtual": {why}')
