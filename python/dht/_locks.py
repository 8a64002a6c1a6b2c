"""A lock of the view leader as a context manager, and what both clients know of locks."""

import os
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dht.errors import DhtError, LockLost

if TYPE_CHECKING:
    from dht.client import Client

POLL_FIRST_S = 0.01
"""The first pause before a lock that another client holds is asked for again."""

POLL_MAX_S = 0.25
"""The longest such pause; each is half again as long as the one before."""


def new_client_name() -> str:
    """Return a name that no other client has: process and chance."""
    return f"python-{os.getpid()}-{os.urandom(8).hex()}"


def next_pause(pause_s: float) -> float:
    """Return the pause after this one."""
    return min(POLL_MAX_S, pause_s * 1.5)


def not_in_time(lock: str, client: str, timeout: float) -> TimeoutError:
    """Return the error of a lock that was not granted in time."""
    return TimeoutError(
        f"lock {lock!r} was not granted to {client!r} within {timeout} s; its place in the queue"
        " was given back; ask again, or wait longer"
    )


def check_timeout(timeout: float | None) -> None:
    """Raise `ValueError` for a time that no wait can last."""
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"a timeout is a number of seconds, 0 or more, or None, not {timeout!r}")


def settle(
    lock: str,
    client: str,
    body: BaseException | None,
    had: bool | None,
    failed: Exception | None,
) -> None:
    """Say what a release came to; never instead of what the body raised.

    Args:
        lock: The lock's name.
        client: Who held it.
        body: What the body raised.
        had: Whether the view leader knew the holder; `None` where it could not be asked.
        failed: Why it could not be asked.

    Raises:
        LockLost: The holder was not known any more.
        DhtError: The release failed; the class is that of `failed`.
    """
    if had:
        return
    if failed is None:
        error: Exception = LockLost(
            f"lock {lock!r} was no longer held by {client!r} when it was released: the view leader"
            " was restarted without a record, or somebody else released it; look at what the lock"
            " protects"
        )
    else:
        error = failed
        text = f"lock {lock!r} may still be held by {client!r}; release it with lock_release"
        error.add_note(text)
    if body is None:
        raise error
    body.add_note(f"besides, releasing lock {lock!r} of {client!r} failed: {error}")


class Lock:
    """A lock that is held inside a `with` block; `Client.lock` makes it.

    It may be used again after the block has ended, under a new name of its own.

    Attributes:
        name: The lock's name.
        client: Who holds it or held it last; empty before the first use where none was named.
    """

    def __init__(
        self, owner: "Client", name: str, client: str | None, timeout: float | None
    ) -> None:
        check_timeout(timeout)
        self.name = name
        self.client = client or ""
        self._named = client is not None
        self._owner = owner
        self._timeout = timeout
        self._held = False

    def __enter__(self) -> Self:
        """Wait for the lock.

        Raises:
            TimeoutError: It was not granted in time.
            NoViewLeader, OutcomeUnknown: Nobody could tell; the place in the queue was given back
                if that could be done.
        """
        if self._held:
            raise RuntimeError(f"lock {self.name!r} is held already by this object; make another")
        if not self._named:
            self.client = new_client_name()
        self._owner.lock_get(self.name, self.client, timeout=self._timeout)
        self._held = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock; what the body raised is never hidden.

        Raises:
            LockLost: The lock was lost inside the block.
            NoViewLeader, OutcomeUnknown: The lock may still be held.
        """
        self._held = False
        had, failed = None, None
        try:
            had = self._owner.lock_release(self.name, self.client)
        except (DhtError, OSError, ValueError, RuntimeError) as cause:
            failed = cause
        settle(self.name, self.client, error, had, failed)
