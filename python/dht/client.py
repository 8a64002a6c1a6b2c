"""The client that Python programs use: names are strings, values anything that JSON knows."""

import atexit
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dht import _codec, _dht, _locks
from dht._limits import MESSAGE_BYTES_MAX, checked_message_bytes
from dht.errors import OutcomeUnknown, ServerUnreachable

if TYPE_CHECKING:  # `import dht` does without them
    from dht._replicated import Replicated
    from dht._transport import Transport
    from dht.status import Status

LISTING_PAUSE_S = 0.05
"""The pause before the names of all servers are asked for again, after one did not answer."""


# A daemon thread must not come back from a call to an interpreter that ends.
atexit.register(_dht.end_calls)


class Client:
    """Reads and writes a ring.

    Safe to share between threads: every call waits for its answer with the interpreter released,
    and Ctrl-C ends the wait within 0.1 s. Connections are kept open and used again. What failed is
    tried again only where that is certainly safe: a retry is never executed twice. A new client's
    call fails at once where nobody listens at the view leader's address.

    A client belongs to the process that made it; in a forked child its methods raise
    `RuntimeError`. After `close` they raise `ValueError`, as those of a closed file do.

    Args:
        viewleader: `HOST`, whose ports 39000 to 39009 are tried in order, or `HOST:PORT`.
        server: The server for `set`, `get`, `query_all_keys` and `print`: `HOST`, whose ports
            38000 to 38009 are tried in order, or `HOST:PORT`.
        timeout: How long one call may take, in seconds.
        message_bytes_max: The longest message that is accepted or sent, in bytes.

    Raises:
        ValueError: An address, the timeout or `message_bytes_max` makes no sense.

    Example:
        >>> with dht.Cluster() as cluster, dht.Client(cluster.viewleader.address) as client:
        ...     client.setr("apple", {"colour": "red"})
        ...     client.getr("apple")
        3
        {'colour': 'red'}
    """

    def __init__(
        self,
        viewleader: str = "localhost",
        server: str = "localhost",
        timeout: float = 5.0,
        *,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self._transport: Transport = _dht.Client(
            viewleader=viewleader,
            server=server,
            timeout_ms=_codec.milliseconds(timeout),
            message_bytes_max=checked_message_bytes(message_bytes_max),
        )
        self._timeout = timeout
        self._name = viewleader

    @classmethod
    def over(cls, transport: "Transport") -> Self:
        """Return a client whose calls, waits and clock are those of a transport.

        Args:
            transport: What carries the calls, such as a simulated network's. It is closed with the
                client.
        """
        client = cls.__new__(cls)
        client._transport = transport
        client._timeout = 5.0
        client._name = type(transport).__name__
        return client

    def __repr__(self) -> str:
        return f"<dht.Client of {self._name}>"

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the connections. Closing again does nothing."""
        self._transport.close()

    @property
    def replicated(self) -> "Replicated":
        """The ring's names and values as a mapping, without delete.

        Example:
            >>> client.replicated["apple"] = 1
            >>> client.replicated.get("pear", 0)
            0
        """
        from dht._replicated import Replicated

        return Replicated(self)

    def setr(self, name: str, value: Any) -> int:
        """Store a value on the three servers of a name.

        Args:
            name: Any string.
            value: `None`, a bool, number or string, or a list or dict of such values. What JSON
                would change, such as a tuple or a dict with keys that are no strings, is refused.
                `nan` and the infinities come back as they are, though other languages may not
                read them.

        Returns:
            How many servers hold it now: three, or all where there are fewer.

        Raises:
            TypeError: The name is no string, or the value no JSON value.
            DidNotHappen: Nothing was stored; the class says why, such as `NoViewLeader`,
                `NoServers`, `Busy`, `NotDone` or `MessageTooLarge`.
            OutcomeUnknown: It may have happened; read the name before writing it again.

        Example:
            >>> client.setr("apple", {"colour": "red"})
            3
        """
        name_json, value_json = _codec.encode_name(name), _codec.encode_value(value)
        return len(self._transport.setr(name_json, value_json))

    def getr(self, name: str) -> Any:
        """Return the last acknowledged value of a name.

        Args:
            name: Any string.

        Returns:
            The value as `setr` was given it.

        Raises:
            KeyError: The name has no value.
            DhtError: Nobody could tell; the class says why, such as `NoViewLeader`.

        Example:
            >>> client.setr("apple", {"colour": "red"})
            3
            >>> client.getr("apple")
            {'colour': 'red'}
        """
        return _codec.decode_value(name, self._transport.getr(_codec.encode_name(name)))

    def setr_many(self, pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> dict[str, int]:
        """Store many values at once, much faster than one by one. Their order is not defined.

        Args:
            pairs: A mapping, or pairs of name and value. Of a name that comes twice, the last
                value is stored.

        Returns:
            How many servers hold each name now.

        Raises:
            TypeError: A name is no string, or a value no JSON value; nothing was sent.
            ManyFailed: Some names failed. Its `errors` has the error of each of them, its `done`
                what the others gave.
            OutcomeUnknown: The client was closed meanwhile; each may have happened.

        Example:
            >>> client.setr_many({"apple": 1, "pear": 2})
            {'apple': 3, 'pear': 3}
        """
        names, texts = _codec.encode_pairs(pairs)
        return _codec.decode_stored(names, self._transport.setr_many(texts))

    def getr_many(self, names: Iterable[str]) -> dict[str, Any]:
        """Read many names at once, much faster than one by one. Each is read on its own.

        Args:
            names: Strings; one that comes twice is read once.

        Returns:
            The last acknowledged value of each name that has one, in the order of the names. A
            name without a value is left out.

        Raises:
            TypeError: A name is no string; nothing was sent.
            ManyFailed: Some names failed. Its `errors` has the error of each of them, its `done`
                what the others gave.
            OutcomeUnknown: The client was closed meanwhile.

        Example:
            >>> client.setr_many({"apple": 1, "pear": 2})
            {'apple': 3, 'pear': 3}
            >>> client.getr_many(["apple", "pear", "no such name"])
            {'apple': 1, 'pear': 2}
        """
        wanted, texts = _codec.encode_names(names)
        return _codec.decode_read(wanted, self._transport.getr_many(texts))

    def set(self, name: str, value: Any) -> None:
        """Store a value on one server only; `getr` does not see it.

        Args:
            name: Any string.
            value: As for `setr`.

        Raises:
            TypeError: The name is no string, or the value no JSON value.
            ServerUnreachable: It did not happen: the server cannot be reached.
            Refused: It did not happen: the server said no.
            OutcomeUnknown: It may have happened.
        """
        _codec.server_reply(self._transport.call_server(_codec.set_request(name, value)))

    def get(self, name: str) -> Any:
        """Return what one server holds under a name, by `set` or as one of its three servers.

        Args:
            name: Any string.

        Returns:
            The value.

        Raises:
            KeyError: The server holds nothing under this name.
            ServerUnreachable: The server cannot be reached.
            DhtError: The server said no, or did not answer.
        """
        return _codec.decode_get(name, self._transport.call_server(_codec.get_request(name)))

    def query_all_keys(self) -> list[str]:
        """Return every name that one server holds a value of.

        Raises:
            ServerUnreachable: The server cannot be reached.
            DhtError: The server said no, or did not answer.
        """
        return _codec.decode_keys(self._transport.call_server(_codec.request("query_all_keys")))

    def print(self, *words: str) -> None:
        """Let one server print words on its standard output.

        Raises:
            ServerUnreachable: It did not happen: the server cannot be reached.
            Refused: It did not happen: the server said no.
            OutcomeUnknown: It may have happened.
        """
        _codec.server_reply(self._transport.call_server(_codec.request("print", text=list(words))))

    def query_servers(self) -> list[tuple[str, int]]:
        """Return the address and the ring position of every server, by position.

        Raises:
            NoViewLeader: The view leader cannot be reached.
            DhtError: The view leader said no, or did not answer.
        """
        return _codec.decode_view(self._transport.call_viewleader(_codec.VIEW_REQUEST))

    def status(self) -> "Status":
        """Look at the whole ring: servers, ranges, what moves and how far it is, and locks.

        The view leader is asked, and then every server what it holds; one that does not answer
        within 2 seconds has no `figures`.

        Raises:
            NoViewLeader: The view leader cannot be reached.
            DhtError: The view leader said no, such as one of the original, or did not answer.

        Example:
            >>> client.status().slots("settled")
            10000
        """
        from dht._status import take

        return take(self._transport)

    def lock_get(
        self, lock: str, client: str, wait: bool = True, timeout: float | None = None
    ) -> bool:
        """Take a lock of the view leader; who waits is served first come, first served.

        Who waits goes on waiting while the view leader cannot be reached or does not answer.
        Whoever stops waiting, by a timeout, an error or Ctrl-C, gives the place in the queue back;
        where that fails, the error says so, and what to do.

        Args:
            lock: The lock's name.
            client: Who asks: any name that nobody else uses. One that holds the lock already is
                granted it again at once.
            wait: Whether to wait while another client holds the lock.
            timeout: How long to wait, in seconds; `None` for ever.

        Returns:
            True once `client` holds the lock; False, without `wait`, where another one does.

        Raises:
            TimeoutError: It was not granted in time.
            NoViewLeader: The view leader cannot be reached, and `client` was not waiting yet.
            Refused: The view leader said no: there are too many locks, or waiters.
            OutcomeUnknown: The view leader did not answer the first question. `client` may have
                the lock: `lock_release` gives it back.

        Example:
            >>> client.lock_get("printer", "ann")
            True
        """
        from dht import _waiting

        return _waiting.lock_get(self, lock, client, wait, timeout)

    def lock_release(self, lock: str, client: str) -> bool:
        """Give a lock, or the place in its queue, back.

        Args:
            lock: The lock's name.
            client: The name under which it was asked for.

        Returns:
            Whether `client` had either.

        Raises:
            NoViewLeader: It did not happen: the view leader cannot be reached.
            Refused: It did not happen: the view leader said no.
            OutcomeUnknown: It may have happened. It is safe to do it again.
        """
        request = _codec.lock_request("lock_release", lock, client)
        return _codec.decode_status(self._transport.call_viewleader(request)) == "ok"

    def lock(
        self, name: str, client: str | None = None, *, timeout: float | None = None
    ) -> _locks.Lock:
        """Return a context manager that holds a lock of the view leader.

        Args:
            name: The lock's name.
            client: Who holds it; a name that nobody else has where it is left out.
            timeout: How long to wait for it, in seconds; `None` for ever.

        Returns:
            What `with` takes. Entering it waits, and raises what `lock_get` does. Leaving it
            releases the lock, also where the block raises; `LockLost` says that the lock was not
            held to the end.

        Example:
            >>> with client.lock("counter", timeout=10):
            ...     client.setr("counter", client.replicated.get("counter", 0) + 1)
            3
        """
        return _locks.Lock(self, name, client, timeout)

    def _ring_names(self) -> list[str]:
        """Return the names that any server of the view holds for the ring, each once."""
        clock = self._transport.monotonic
        until = clock() + self._timeout
        while True:
            try:
                return self._list_names()
            except (ServerUnreachable, OutcomeUnknown):
                # A server has ended; the next view may know it.
                if clock() >= until:
                    raise
            self._transport.sleep(LISTING_PAUSE_S)

    def _list_names(self) -> list[str]:
        request = _codec.request("query_all_keys")
        names: dict[str, None] = {}
        for address, _ in self.query_servers():
            listed = _codec.decode_ring_keys(self._transport.call_address(address, request))
            names.update(dict.fromkeys(listed))
        return sorted(names)
