"""What `dht.Cluster` needs of whatever runs its nodes: threads and sockets, or a simulator."""

from typing import Protocol

from dht._transport import Transport

ASK_TIMEOUT_SECONDS = 5.0
"""How long `Ring.ask` waits."""

LEADER = "viewleader"
"""The name of the view leader's node; servers are `server 1`, `server 2`, …"""


class Ring(Protocol):
    """Runs nodes that are known by names. Times are seconds of the ring's own clock."""

    def start_leader(self, *, new: bool) -> str:
        """Start the view leader; `new`: its ring never had one. Return its address."""
        ...

    def start_server(self, name: str) -> str:
        """Start a server, where it ran before if it did; return its address, before it joins."""
        ...

    def kill(self, name: str) -> None:
        """End a node at once, without a word."""

    def pause(self, name: str) -> None:
        """Have a node stand still."""

    def resume(self, name: str) -> None:
        """Let a node go on."""

    def leave(self, name: str, timeout: float) -> bool:
        """Have a server leave the ring; return whether it has in time."""
        ...

    def has_left(self, name: str) -> bool:
        """Return whether a server that was to leave has left since."""
        ...

    def transport(self, server: str, timeout: float) -> tuple[str, Transport]:
        """Return the name of a new client, and what carries its calls."""
        ...

    def ask(self, address: str, request: str) -> str:
        """Send a request to a server, and return its reply; one with `error` where none came."""
        ...

    def view(self) -> str | None:
        """Return what the view leader answers `query_servers`; `None` where it does not."""
        ...

    def holders(self, key: str, addresses: list[str]) -> list[str]:
        """Return which of these servers have a copy of a name, a JSON string."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass; a signal ends it."""

    def monotonic(self) -> float:
        """Return the time."""
        ...

    def cut(self, from_name: str, to_name: str) -> None:
        """Let nothing pass from one node to another."""

    def heal(self) -> None:
        """Let everything pass."""

    def trace(self) -> str:
        """Return what happened."""
        ...

    def close(self) -> None:
        """End every node."""
