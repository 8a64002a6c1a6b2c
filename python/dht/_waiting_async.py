"""How the client for asyncio waits for a lock, and how it gives up."""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

from dht import _codec, _locks
from dht.errors import DhtError, DidNotHappen, NoViewLeader, OutcomeUnknown

if TYPE_CHECKING:
    from dht.aio import AsyncClient

CANCELLED_S = 0.05
"""How long a wait that was cancelled, as Ctrl-C does, goes on at most."""

T = TypeVar("T")


async def lock_get(
    owner: "AsyncClient", lock: str, client: str, wait: bool, timeout: float | None
) -> bool:
    """Take a lock; arguments, result and errors are those of `AsyncClient.lock_get`."""
    _locks.check_timeout(timeout)
    place = _Place(owner, lock, client)
    clock = asyncio.get_running_loop().time
    until = None if timeout is None else clock() + timeout
    pause = _locks.POLL_FIRST_S
    if (earlier := owner._leaving().get((lock, client))) is not None:
        await asyncio.wait([earlier])  # its release must not come behind this
    try:
        while not await place.ask():
            if not wait:
                releasing = release(owner, lock, client, _locks.GIVE_BACK_S)
                await to_the_end(owner, lock, client, releasing)
                return False
            rest = pause if until is None else until - clock()
            if rest <= 0:
                raise _locks.NotInTime
            await asyncio.sleep(min(pause, rest))
            pause = _locks.next_pause(pause)
    except _locks.NotInTime as over:
        raise over.told(lock, client, timeout, await place.give_back()) from None
    except BaseException as error:
        await place.give_up(error)
        raise
    return True


class _Place:
    """A place in the queue of a lock."""

    def __init__(self, owner: "AsyncClient", lock: str, client: str) -> None:
        self._request = _codec.lock_request("lock_get", lock, client)
        self._owner, self._lock, self._client = owner, lock, client
        self._asking: asyncio.Future[str] | None = None
        self._queued = False

    async def ask(self) -> bool:
        """Ask for the lock; return whether it was granted."""
        # Not cancelled with its caller: it must not reach the leader behind the release.
        self._asking = _started(self._owner._ask_viewleader(self._request))
        try:
            if _codec.decode_status(await asyncio.shield(self._asking)) == "granted":
                return True
        except (NoViewLeader, OutcomeUnknown):
            # A place stays where it is meanwhile, and asking again does no harm.
            if not self._queued:
                raise
        self._queued = True
        return False

    async def give_up(self, error: BaseException) -> None:
        """Give back what a failed wait may have left; its error says where that fails."""
        if self._asking and (self._queued or not isinstance(error, DidNotHappen)):
            span_s = _locks.GIVE_BACK_S if isinstance(error, Exception) else CANCELLED_S
            note = await self.give_back(span_s)
            if note is not None:
                error.add_note(note)

    async def give_back(self, span_s: float = _locks.GIVE_BACK_S) -> str | None:
        """Give it back; return what is to be said where that fails."""
        task = _started(self._give_back())
        return await _left(self._owner, self._lock, self._client, task, span_s)

    async def _give_back(self) -> None:
        async with asyncio.timeout(_locks.GIVE_BACK_S):
            if self._asking is not None:
                await asyncio.wait([self._asking])
            await release(self._owner, self._lock, self._client, _locks.GIVE_BACK_S)


async def release(owner: "AsyncClient", lock: str, client: str, span_s: float) -> bool:
    """Release a lock; as `dht._waiting.release`."""
    clock = asyncio.get_running_loop().time
    until = clock() + min(span_s, owner._timeout_ms / 1000)
    pause = _locks.POLL_FIRST_S
    while True:
        try:
            return await owner.lock_release(lock, client)
        except NoViewLeader:
            rest = until - clock()
            if rest <= 0:
                raise
        await asyncio.sleep(min(pause, rest))
        pause = _locks.next_pause(pause)


async def to_the_end(owner: "AsyncClient", lock: str, client: str, releasing: Awaitable[T]) -> T:
    """Release what a cancelled caller still wants released; the cancellation comes after it."""
    task = _started(releasing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError as cancelled:
        note = await _left(owner, lock, client, task, CANCELLED_S)
        if note is not None:
            cancelled.add_note(note)
        raise


async def _left(
    owner: "AsyncClient", lock: str, client: str, task: "asyncio.Future[T]", span_s: float
) -> str | None:
    """Wait for a release; return what is to be said where that fails. It goes on behind this."""
    leaving, key = owner._leaving(), (lock, client)
    leaving[key] = task
    task.add_done_callback(lambda _: leaving.pop(key, None))
    await asyncio.wait([task], timeout=span_s + 0.01)
    if not task.done() or task.cancelled():
        return _locks.left_behind(lock, client, "no answer yet")
    failed = task.exception()
    if failed is None:
        return None
    if not isinstance(failed, DhtError | OSError | ValueError | RuntimeError):
        raise failed
    return _locks.left_behind(lock, client, str(failed) or "no answer in time")


def _started(doing: Awaitable[T]) -> "asyncio.Future[T]":
    """Begin something whose error may come when nobody waits for it any more."""
    task = asyncio.ensure_future(doing)
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return task
