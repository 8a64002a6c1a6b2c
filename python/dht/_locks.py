"""A lock of the view leader as a context manager, and what both clients know of locks."""

import os
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dht.errors import DhtError, DidNotHappen, LockLost

if TYPE_CHECKING:
    from dht.client import Client

POLL_FIRST_S = 0.01
"""The first pause before a lock that another client holds is asked for again."""

POLL_MAX_S = 0.25
"""The longest such pause; each is half again as long as the one before."""

GIVE_BACK_S = 0.5
"""How long a wait that has failed tries to give its place in the queue back, while the view leader
cannot be reached; each try may take the client's own timeout."""

INTERRUPTED_S = 0.03
"""How long it holds up whoever has pressed Ctrl-C, or cancelled the wait."""

RELEASE_S = 2.0
"""How long the end of a block tries to release its lock while the view leader cannot be reached."""


def new_client_name() -> str:
    """Return a name that no other client has: process and chance."""
    return f"python-{os.getpid()}-{os.urandom(8).hex()}"


def next_pause(pause_s: float) -> float:
    """Return the pause after this one."""
    return min(POLL_MAX_S, pause_s * 1.5)


class NotInTime(Exception):
    """A wait for a lock is over; what became of the place in the queue is to be said yet."""

    def told(self, lock: str, client: str, timeout: float | None, left: str | None) -> TimeoutError:
        """Return the error of a lock that was not granted in time.

        Args:
            lock: The lock's name.
            client: Who asked for it.
            timeout: How long, in seconds.
            left: What is to be said of a place that was not given back.
        """
        text = f"lock {lock!r} was not granted to {client!r} within {timeout} s"
        if left is not None:
            return TimeoutError(f"{text}; {left}")
        return TimeoutError(
            f"{text}; its place in the queue was given back; ask again, or wait longer"
        )


def left_behind(lock: str, client: str, failed: object) -> str:
    """Return what to say of a place in a queue that could not be given back."""
    return (
        f"{client!r} may still be in the queue of lock {lock!r}, or hold it ({failed}); once the"
        f" view leader answers, call lock_release({lock!r}, {client!r})"
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
        error = type(failed)(_still_held(lock, client, failed))
    if body is None:
        raise error from failed
    body.add_note(f"besides, releasing lock {lock!r} of {client!r} failed: {error}")


def _still_held(lock: str, client: str, failed: Exception) -> str:
    # A closed client and that of another process have not even asked.
    certain = isinstance(failed, DidNotHappen | ValueError | RuntimeError)
    return (
        f"lock {lock!r} {'is' if certain else 'may'} still {'' if certain else 'be '}held by"
        f" {client!r}, as releasing it failed: {failed}; once the view leader answers, call"
        f" lock_release({lock!r}, {client!r})"
    )


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

        While the view leader cannot be reached it is tried again, for 2 s or the client's timeout.

        Raises:
            LockLost: The lock was lost inside the block.
            NoViewLeader: The lock is still held; the text says how to release it.
            OutcomeUnknown: The lock may still be held.
        """
        from dht import _waiting

        self._held = False
        had, failed = None, None
        try:
            in_a_hurry = error is not None and not isinstance(error, Exception)
            span_s = INTERRUPTED_S if in_a_hurry else RELEASE_S
            had = _waiting.release(self._owner, self.name, self.client, span_s)
        except (DhtError, OSError, ValueError, RuntimeError) as cause:
            failed = cause
        except BaseException as pressed:  # Ctrl-C meanwhile
            pressed.add_note(left_behind(self.name, self.client, "not released yet"))
            raise
        settle(self.name, self.client, error, had, failed)
