"""The client for asyncio. `import dht` does not import this; `dht.AsyncClient` does."""

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from dht import _codec, _dht, _locks
from dht._limits import MESSAGE_BYTES_MAX, checked_message_bytes
from dht.errors import DhtError, OutcomeUnknown

if TYPE_CHECKING:  # who asks for no status does without
    from dht._replicated_async import AsyncReplicated
    from dht.status import Status

__all__ = ["AsyncClient", "AsyncLock"]


atexit.register(_dht.end_calls)  # as in dht.client


class AsyncClient:
    """Reads and writes a ring from asyncio: the methods of `dht.Client`, to be awaited.

    Any number of calls may be under way at once; they share kept-open connections to each server.
    A call that is cancelled never leaves its reply to another one. A write that is cancelled may
    or may not have happened; what was not sent yet is not sent any more.

    It may be used from several event loops, one after another or at once. The connections are
    served by one thread of the process, which is started by the first call and never touches
    Python. In a forked child the methods raise `RuntimeError`, and after `close` `ValueError`.

    Args:
        viewleader: `HOST`, whose ports 39000 to 39009 are tried in order, or `HOST:PORT`.
        server: The server for `set`, `get`, `query_all_keys` and `print`: `HOST`, whose ports
            38000 to 38009 are tried in order, or `HOST:PORT`.
        timeout: How long one call may take, in seconds.
        message_bytes_max: The longest message that is accepted or sent, in bytes.

    Raises:
        ValueError: The timeout or `message_bytes_max` makes no sense.

    Example:
        >>> with dht.Cluster() as cluster:
        ...     async with dht.AsyncClient(cluster.viewleader.address) as client:
        ...         await client.setr("apple", {"colour": "red"})
        ...         await client.getr("apple")
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
        self._viewleader = viewleader
        self._server = server
        self._timeout_ms = _codec.milliseconds(timeout)
        self._message_bytes_max = checked_message_bytes(message_bytes_max)
        self._process = os.getpid()
        self._closed = False
        self._links: dict[asyncio.AbstractEventLoop, _Link] = {}
        self._given_back: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[tuple[str, str], asyncio.Future[Any]]
        ] = WeakKeyDictionary()
        self._guard = threading.Lock()
        # An address that makes no sense is told here, before anything is under way.
        _dht.Client(viewleader=viewleader, server=server).close()

    def __repr__(self) -> str:
        return f"<dht.AsyncClient of {self._viewleader}>"

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the connections. Closing again does nothing.

        Calls that are under way raise `OutcomeUnknown`.
        """
        if os.getpid() != self._process:
            return
        with self._guard:
            self._closed = True
            links, self._links = self._links, {}
        here = asyncio.get_running_loop()
        for loop, link in links.items():
            if loop is here:
                link.close()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(link.close)

    @property
    def replicated(self) -> "AsyncReplicated":
        """The ring's names and values as a mapping whose uses are awaited, without delete.

        Reading is `await client.replicated[name]`. What Python cannot await has a name: `put`
        assigns, `contains` is `in`, `count` is `len`; `async for` gives the names.

        Example:
            >>> await client.replicated.put("apple", 1)
            3
            >>> await client.replicated["apple"]
            1
        """
        from dht._replicated_async import AsyncReplicated

        return AsyncReplicated(self)

    async def setr(self, name: str, value: Any) -> int:
        """Store a value on the three servers of a name.

        Args:
            name: Any string.
            value: As for `dht.Client.setr`.

        Returns:
            How many servers hold it now.

        Raises:
            TypeError: The name is no string, or the value no JSON value.
            DidNotHappen: Nothing was stored; the class says why, such as `NoViewLeader`.
            OutcomeUnknown: It may have happened; read the name before writing it again.
        """
        pair = (_codec.encode_name(name), _codec.encode_value(value))
        link = self._link()
        return len(_single(await link.answer(link.pipeline.setr_many([pair]))))

    async def getr(self, name: str) -> Any:
        """Return the last acknowledged value of a name.

        Raises:
            KeyError: The name has no value.
            DhtError: Nobody could tell; the class says why, such as `NoViewLeader`.
        """
        text = _codec.encode_name(name)
        link = self._link()
        return _codec.decode_value(
            name, _single(await link.answer(link.pipeline.getr_many([text])))
        )

    async def setr_many(
        self, pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]
    ) -> dict[str, int]:
        """Store many values at once; arguments, result and errors as for `dht.Client.setr_many`."""
        names, texts = _codec.encode_pairs(pairs)
        link = self._link()
        return _codec.decode_stored(names, await link.answer(link.pipeline.setr_many(texts)))

    async def getr_many(self, names: Iterable[str]) -> dict[str, Any]:
        """Read many names at once; arguments, result and errors as for `dht.Client.getr_many`."""
        wanted, texts = _codec.encode_names(names)
        link = self._link()
        return _codec.decode_read(wanted, await link.answer(link.pipeline.getr_many(texts)))

    async def set(self, name: str, value: Any) -> None:
        """Store a value on one server only; `getr` does not see it.

        Raises:
            TypeError: The name is no string, or the value no JSON value.
            ServerUnreachable: It did not happen: the server cannot be reached.
            Refused: It did not happen: the server said no.
            OutcomeUnknown: It may have happened.
        """
        _codec.server_reply(await self._ask_server(_codec.set_request(name, value)))

    async def get(self, name: str) -> Any:
        """Return what one server holds under a name, by `set` or as one of its three servers.

        Raises:
            KeyError: The server holds nothing under this name.
            ServerUnreachable: The server cannot be reached.
            DhtError: The server said no, or did not answer.
        """
        return _codec.decode_get(name, await self._ask_server(_codec.get_request(name)))

    async def query_all_keys(self) -> list[str]:
        """Return every name that one server holds a value of; errors as for `get`."""
        return _codec.decode_keys(await self._ask_server(_codec.request("query_all_keys")))

    async def print(self, *words: str) -> None:
        """Let one server print words on its standard output; errors as for `set`."""
        _codec.server_reply(await self._ask_server(_codec.request("print", text=list(words))))

    async def query_servers(self) -> list[tuple[str, int]]:
        """Return the address and the ring position of every server, by position.

        Raises:
            NoViewLeader: The view leader cannot be reached.
            DhtError: The view leader said no, or did not answer.
        """
        return _codec.decode_view(await self._ask_viewleader(_codec.VIEW_REQUEST))

    async def status(self) -> "Status":
        """Look at the whole ring; result and errors are those of `dht.Client.status`."""
        from dht import _status

        async def answer(address: str) -> str | None:
            try:
                async with asyncio.timeout(_status.ASK_TIMEOUT_S):
                    return await self._ask_address(address, _status.SERVER_REQUEST)
            except (DhtError, OSError):
                return None

        said = await self._ask_viewleader(_status.LEADER_REQUEST)
        addresses = _status.addresses(said)
        answers = await asyncio.gather(*map(answer, addresses))
        both = dict(zip(addresses, answers, strict=True))
        return _status.decode(said, both, time.monotonic())

    async def lock_get(
        self, lock: str, client: str, wait: bool = True, timeout: float | None = None
    ) -> bool:
        """Take a lock of the view leader; who waits is served first come, first served.

        Arguments, result and errors are those of `dht.Client.lock_get`. A wait that is cancelled
        gives its place in the queue back; it ends within 0.1 s, and where that took longer, it is
        tried for up to 0.5 s while the loop runs on.
        """
        from dht import _waiting_async

        return await _waiting_async.lock_get(self, lock, client, wait, timeout)

    async def lock_release(self, lock: str, client: str) -> bool:
        """Give a lock, or the place in its queue, back.

        Returns:
            Whether `client` had either.

        Raises:
            NoViewLeader: It did not happen: the view leader cannot be reached.
            Refused: It did not happen: the view leader said no.
            OutcomeUnknown: It may have happened. It is safe to do it again.
        """
        request = _codec.lock_request("lock_release", lock, client)
        return _codec.decode_status(await self._ask_viewleader(request)) == "ok"

    def lock(
        self, name: str, client: str | None = None, *, timeout: float | None = None
    ) -> "AsyncLock":
        """Return a context manager that holds a lock; as `dht.Client.lock`.

        Example:
            >>> async with client.lock("counter", timeout=10):
            ...     await client.setr("counter", 1)
            3
        """
        return AsyncLock(self, name, client, timeout)

    async def _ask_server(self, request: str) -> str:
        link = self._link()
        return str(await link.answer(link.pipeline.call_server(request)))

    async def _ask_viewleader(self, request: str) -> str:
        link = self._link()
        return str(await link.answer(link.pipeline.call_viewleader(request)))

    async def _ask_address(self, address: str, request: str) -> str:
        link = self._link()
        return str(await link.answer(link.pipeline.call_address(address, request)))

    def _leaving(self) -> "dict[tuple[str, str], asyncio.Future[Any]]":
        """Return what gives locks and places back although its caller was cancelled."""
        with self._guard:
            return self._given_back.setdefault(asyncio.get_running_loop(), {})

    def _link(self) -> "_Link":
        """Return what belongs to the running loop."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "this AsyncClient belongs to the parent process and does not work in a forked"
                ' child; use multiprocessing\'s "spawn" start method, or create it in the child'
            )
        loop = asyncio.get_running_loop()
        with self._guard:
            if self._closed:
                raise ValueError("the client is closed; make a new one")
            link = self._links.get(loop)
            if link is None:
                self._links = {k: v for k, v in self._links.items() if not k.is_closed()}
                pipeline = _dht.Pipeline(
                    viewleader=self._viewleader,
                    server=self._server,
                    timeout_ms=self._timeout_ms,
                    message_bytes_max=self._message_bytes_max,
                )
                link = self._links[loop] = _Link(loop, pipeline)
            return link


class _Link:
    """The calls of one event loop; used on its thread alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pipeline: _dht.Pipeline) -> None:
        self.pipeline = pipeline
        self._loop = loop
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        loop.add_reader(pipeline.fileno(), self._collect)

    async def answer(self, ticket: int) -> Any:
        """Return what a call came to; giving up the wait gives up the call."""
        future = self._loop.create_future()
        self._waiting[ticket] = future
        try:
            return await future
        finally:
            if self._waiting.pop(ticket, None) is not None:
                self.pipeline.cancel(ticket)

    def close(self) -> None:
        """End all calls."""
        self._loop.remove_reader(self.pipeline.fileno())
        self.pipeline.close()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                text = "the client was closed before the answer; it may have happened"
                future.set_exception(OutcomeUnknown(text))

    def _collect(self) -> None:
        for ticket, result in self.pipeline.finished():
            future = self._waiting.pop(ticket, None)
            if future is None or future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


class AsyncLock:
    """A lock that is held inside an `async with` block; `AsyncClient.lock` makes it.

    Attributes:
        name: The lock's name.
        client: Who holds it or held it last; empty before the first use where none was named.
    """

    def __init__(
        self, owner: AsyncClient, name: str, client: str | None, timeout: float | None
    ) -> None:
        _locks.check_timeout(timeout)
        self.name = name
        self.client = client or ""
        self._named = client is not None
        self._owner = owner
        self._timeout = timeout
        self._held = False

    async def __aenter__(self) -> Self:
        """Wait for the lock; errors as for `AsyncClient.lock_get`."""
        if self._held:
            raise RuntimeError(f"lock {self.name!r} is held already by this object; make another")
        self._held = True
        if not self._named:
            self.client = _locks.new_client_name()
        try:
            await self._owner.lock_get(self.name, self.client, timeout=self._timeout)
        except BaseException:
            self._held = False
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock; errors as for `dht.Client.lock`."""
        from dht import _waiting_async

        self._held = False
        had, failed = None, None
        releasing = _waiting_async.release(self._owner, self.name, self.client, _locks.RELEASE_S)
        try:
            had = await _waiting_async.to_the_end(self._owner, self.name, self.client, releasing)
        except (DhtError, OSError, ValueError, RuntimeError) as cause:
            failed = cause
        _locks.settle(self.name, self.client, error, had, failed)


def _single(ends: list[Any]) -> Any:
    """Return or raise what became of the only operation."""
    (end,) = ends
    if isinstance(end, DhtError):
        raise end
    return end
