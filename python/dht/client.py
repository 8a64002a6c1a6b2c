"""The client that Python programs use: names are strings, values anything that JSON knows."""

import json
from types import TracebackType
from typing import Any, Self, cast

from dht import _dht
from dht._limits import MESSAGE_BYTES_MAX
from dht._transport import Transport


class Client:
    """Reads and writes a ring.

    Safe to share between threads; every call waits for its answer with the GIL released.

    Args:
        viewleader: `HOST`, whose ports 39000 to 39009 are tried in order, or `HOST:PORT`.
        server: The server for `set`, `get`, `query_all_keys` and `print`: `HOST`, whose ports
            38000 to 38009 are tried in order, or `HOST:PORT`.
        timeout: How long one call may take, in seconds.
        message_bytes_max: The longest message that is accepted or sent, in bytes.

    Example:
        >>> with Client("localhost") as client:
        ...     client.setr("apple", {"colour": "red"})
        ...     client.getr("apple")
        3
        {'colour': 'red'}
    """

    def __init__(
        self,
        viewleader: str = "localhost",
        server: str = "localhost",
        *,
        timeout: float = 5.0,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self._native = _dht.Client(
            viewleader=viewleader,
            server=server,
            timeout_ms=max(1, round(timeout * 1000)),
            message_bytes_max=message_bytes_max,
        )

    @classmethod
    def over(cls, transport: Transport) -> Self:
        """Return a client whose calls `transport` carries."""
        client = cls.__new__(cls)
        client._native = cast(_dht.Client, transport)
        return client

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
        self._native.close()

    def setr(self, name: str, value: Any) -> int:
        """Store a value on the three servers of a name.

        Args:
            name: Any string.
            value: Anything that `json.dumps` takes.

        Returns:
            How many servers hold it now.

        Raises:
            NoViewLeader, NoServers, Busy, WrongEpoch, NotDone, MessageTooLarge: It did not happen.
            OutcomeUnknown: It may have happened; read the name before writing it again.
        """
        return len(self._native.setr(_name(name), json.dumps(value)))

    def getr(self, name: str) -> Any:
        """Return the last acknowledged value of a name.

        Raises:
            KeyError: The name has no value.
            NoViewLeader, NoServers, NotDone, OutcomeUnknown: Nobody could tell.
        """
        text = self._native.getr(_name(name))
        if text is None:
            raise KeyError(name)
        return json.loads(text)

    def set(self, name: str, value: Any) -> None:
        """Store a value on one server only; `getr` does not see it.

        Raises:
            ConnectionError: The server cannot be reached.
            DhtError: The server refused.
        """
        self._ask_server({"cmd": "set", "key": _checked(name), "val": value})

    def get(self, name: str) -> Any:
        """Return what one server holds under a name, by `set` or as one of its three servers.

        Raises:
            KeyError: The server holds nothing under this name.
            ConnectionError: The server cannot be reached.
            DhtError: The server refused.
        """
        reply = self._ask_server({"cmd": "get", "key": _checked(name)})
        if reply.get("status") == "not_found":
            raise KeyError(name)
        return reply["value"]

    def query_all_keys(self) -> list[str]:
        """Return every name that one server holds a value of.

        Raises:
            ConnectionError: The server cannot be reached.
            DhtError: The server refused.
        """
        names: list[str] = self._ask_server({"cmd": "query_all_keys"})["result"]
        return names

    def print(self, *words: str) -> None:
        """Let one server print words on its standard output.

        Raises:
            ConnectionError: The server cannot be reached.
            DhtError: The server refused.
        """
        self._ask_server({"cmd": "print", "text": list(words)})

    def query_servers(self) -> list[tuple[str, int]]:
        """Return the address and the ring position of every server, by position.

        Raises:
            ConnectionError: The view leader cannot be reached.
            DhtError: The view leader refused.
        """
        reply = self._ask_viewleader({"cmd": "query_servers"})
        return [(address, position) for address, position in reply["result"]]

    def lock_get(self, lock: str, requestor: str) -> bool:
        """Ask for a lock once; whoever does not get it is queued, first come first served.

        Args:
            lock: The lock's name.
            requestor: Who asks; the same name asks again for the same place in the queue.

        Returns:
            Whether `requestor` holds the lock now.

        Raises:
            ConnectionError: The view leader cannot be reached.
            DhtError: The view leader refused.
        """
        request = {"cmd": "lock_get", "lockid": lock, "requestor": requestor}
        return bool(self._ask_viewleader(request)["status"] == "granted")

    def lock_release(self, lock: str, requestor: str) -> bool:
        """Give a lock, or a place in its queue, back.

        Returns:
            Whether `requestor` had either.

        Raises:
            ConnectionError: The view leader cannot be reached.
            DhtError: The view leader refused.
        """
        request = {"cmd": "lock_release", "lockid": lock, "requestor": requestor}
        return bool(self._ask_viewleader(request)["status"] == "ok")

    def _ask_server(self, request: dict[str, Any]) -> dict[str, Any]:
        return _checked_reply(self._native.call_server(json.dumps(request)))

    def _ask_viewleader(self, request: dict[str, Any]) -> dict[str, Any]:
        return _checked_reply(self._native.call_viewleader(json.dumps(request)))


def _name(name: str) -> str:
    return json.dumps(_checked(name))


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, not {type(name).__name__}")
    return name


def _checked_reply(text: str) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(text)
    error = reply.get("error")
    if error is None:
        return reply
    if str(error).startswith("can't connect"):
        raise ConnectionError(error)
    raise _dht.DhtError(error)
