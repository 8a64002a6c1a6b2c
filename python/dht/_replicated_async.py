"""The ring's values as a mapping whose uses are awaited."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dht import _codec
from dht._replicated import READ_AT_ONCE_MAX
from dht.client import LISTING_PAUSE_S
from dht.errors import OutcomeUnknown, ServerUnreachable

if TYPE_CHECKING:
    from dht.aio import AsyncClient


class AsyncReplicated:
    """The ring's names and values, as `AsyncClient.getr` and `AsyncClient.setr` see them.

    It is what `dht.Client.replicated` is, as far as asyncio allows: reading is
    `await values[name]`, and because Python cannot await an assignment, `len` or `in`, these are
    `put`, `count` and `contains`. `async for` gives the names.

    It is a view: nothing is kept here, every use asks the ring, and there is no delete yet.
    `count` and iteration ask every server for its names; one that only `AsyncClient.set` has stored
    is not among them. What is written meanwhile may or may not appear. Errors are those of the
    client's methods.

    Example:
        >>> await client.replicated.put("apple", {"colour": "red"})
        3
        >>> await client.replicated["apple"]
        {'colour': 'red'}
        >>> await client.replicated.get("pear", 0)
        0
        >>> [name async for name in client.replicated]
        ['apple']
    """

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"<replicated values of {self._client!r}>"

    def __getitem__(self, name: str) -> Coroutine[Any, Any, Any]:
        """Return what gives the value of a name once it is awaited, or raises `KeyError`."""
        return self._client.getr(name)

    def __aiter__(self) -> AsyncIterator[str]:
        """Return every name of the ring once, in alphabetical order."""
        return self.keys()

    async def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, or `default` where it has none."""
        try:
            return await self._client.getr(name)
        except KeyError:
            return default

    async def put(self, name: str, value: Any) -> int:
        """Store the value of a name; return how many servers hold it, as `AsyncClient.setr`."""
        return await self._client.setr(name, value)

    async def contains(self, name: object) -> bool:
        """Return whether a name has a value; what is no string has none."""
        if not isinstance(name, str):
            return False
        try:
            await self._client.getr(name)
        except KeyError:
            return False
        return True

    async def count(self) -> int:
        """Return how many names the ring has."""
        return len(await self._ring_names())

    async def keys(self) -> AsyncIterator[str]:
        """Return the names; what `async for` over the mapping itself gives."""
        for name in await self._ring_names():
            yield name

    async def items(self) -> AsyncIterator[tuple[str, Any]]:
        """Return names and values; they are read many at once."""
        names = await self._ring_names()
        for start in range(0, len(names), READ_AT_ONCE_MAX):
            read = await self._client.getr_many(names[start : start + READ_AT_ONCE_MAX])
            for pair in read.items():
                yield pair

    async def values(self) -> AsyncIterator[Any]:
        """Return the values; they are read many at once."""
        async for _, value in self.items():
            yield value

    async def setdefault(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, after storing `default` where it had none.

        Reading and writing are two calls: what another client writes in between is overwritten.
        Hold a lock where that matters.
        """
        try:
            return await self._client.getr(name)
        except KeyError:
            await self._client.setr(name, default)
            return default

    async def update(
        self, other: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **named: Any
    ) -> None:
        """Store many values at once; like `AsyncClient.setr_many`, of which it has the errors."""
        await self._client.setr_many(dict(other) | named)

    async def _ring_names(self) -> list[str]:
        """Return the names that any server of the view holds for the ring, each once."""
        clock = asyncio.get_running_loop().time
        until = clock() + self._client._timeout_ms / 1000
        while True:
            try:
                return await self._list_names()
            except (ServerUnreachable, OutcomeUnknown):
                # A server has ended; the next view may know it.
                if clock() >= until:
                    raise
            await asyncio.sleep(LISTING_PAUSE_S)

    async def _list_names(self) -> list[str]:
        request = _codec.request("query_all_keys")
        names: dict[str, None] = {}
        for address, _ in await self._client.query_servers():
            listed = _codec.decode_ring_keys(await self._client._ask_address(address, request))
            names.update(dict.fromkeys(listed))
        return sorted(names)
