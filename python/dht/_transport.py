"""What a client needs of whatever carries its calls: sockets, or a simulated network."""

from collections.abc import Sequence
from typing import Protocol

from dht import _dht


class Transport(Protocol):
    """Carries calls and waits for their answers. Texts are JSON; times are seconds.

    `dht._dht.Client` does so over TCP. A simulated cluster does so in virtual time, in which
    `sleep` costs nothing.
    """

    @property
    def real(self) -> bool:
        """Whether time passes by itself, and threads may wait at once.

        Where it does not, threads that called at once would take turns in an order that nothing
        decides.
        """
        ...

    def call_server(self, request: str) -> str:
        """Send a request to the client's server and return its reply."""
        ...

    def call_viewleader(self, request: str) -> str:
        """Send a request to the view leader and return its reply."""
        ...

    def call_address(self, address: str, request: str, timeout_ms: int | None = None) -> str:
        """Send a request to the server at `host:port` and return its reply.

        `timeout_ms` counts where it is shorter than the client's own timeout.
        """
        ...

    def setr(self, key: str, value: str) -> list[str]:
        """Store a value; return the addresses of the servers that hold it."""
        ...

    def getr(self, key: str) -> str | None:
        """Return the last acknowledged value; `None` where there is none."""
        ...

    def setr_many(self, pairs: Sequence[tuple[str, str]]) -> list[list[str] | _dht.DhtError]:
        """Store many values at once; return what became of each, in their order."""
        ...

    def getr_many(self, keys: Sequence[str]) -> list[str | _dht.DhtError | None]:
        """Read many names at once; return what became of each, in their order."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass; a signal ends it."""

    def monotonic(self) -> float:
        """Return the time of a clock that never goes back."""
        ...

    def close(self) -> None:
        """Close what is open. Closing again does nothing."""
