"""What can go wrong. "It did not happen" and "it may have happened" are different classes.

```text
DhtError
├── DidNotHappen            nothing was changed; safe to do again
│   ├── NoViewLeader        also a ConnectionError
│   ├── ServerUnreachable   also a ConnectionError
│   ├── NoServers
│   ├── Busy
│   ├── WrongEpoch
│   ├── NotDone
│   ├── Refused
│   └── MessageTooLarge     also a ValueError
├── OutcomeUnknown          it may have happened; look before doing it again
├── LockLost                the lock was not held to the end
└── ManyFailed              some of many names failed; each has its own error
```

A name without a value is a `KeyError`, a lock that was not granted in time is a `TimeoutError`, a
value that is no JSON is a `TypeError`, and a client that was closed raises `ValueError`, as a
closed file does. `OutcomeUnknown` is no `TimeoutError`: a broken connection leads to it as well.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # checkers know the name; `typing` itself takes longer to load than all of this
    from typing import Any

__all__ = [
    "Busy",
    "DhtError",
    "DidNotHappen",
    "LockLost",
    "ManyFailed",
    "MessageTooLarge",
    "NoServers",
    "NoViewLeader",
    "NotDone",
    "OutcomeUnknown",
    "Refused",
    "ServerUnreachable",
    "WrongEpoch",
]


class DhtError(Exception):
    """Something that the ring could not do; the base of all errors of this package."""


class DidNotHappen(DhtError):
    """It did not happen: nothing was changed, and it is safe to do it again."""


class NoViewLeader(DidNotHappen, ConnectionError):
    """It did not happen: no view leader answered. Start one, or name its host."""


class ServerUnreachable(DidNotHappen, ConnectionError):
    """It did not happen: the server cannot be reached. Start it, or name its host."""


class NoServers(DidNotHappen):
    """It did not happen: the view has no server. Start one."""


class Busy(DidNotHappen):
    """It did not happen: another client is writing this name. Try again in a moment."""


class WrongEpoch(DidNotHappen):
    """It did not happen: a server voted in another epoch. Try again in a moment."""


class NotDone(DidNotHappen):
    """It did not happen: nobody could serve it in time. Try again."""


class Refused(DidNotHappen):
    """It did not happen: the other side refused the request, and says why."""


class MessageTooLarge(DidNotHappen, ValueError):
    """It did not happen: the message is longer than a limit allows. Store less, or raise it."""


class OutcomeUnknown(DhtError):
    """It may have happened: no answer came. Read the name before writing it again."""


class LockLost(DhtError):
    """The lock was not held to the end, so others may have held it as well meanwhile.

    The view leader was started again without a `data_dir`, or somebody else released the lock.
    What the lock protects has to be looked at.
    """


class ManyFailed(DhtError):
    """Some of many names failed; the others were done.

    Attributes:
        errors: The error of each name that failed. `DidNotHappen` and `OutcomeUnknown` tell
            which of them are safe to do again.
        done: What the other names gave: for `setr_many` how many servers hold the value, for
            `getr_many` the value.

    Example:
        >>> pairs, again = {"apple": 1, "pear": 2}, []
        >>> try:
        ...     copies = client.setr_many(pairs)
        ... except dht.ManyFailed as failed:
        ...     again = [n for n, e in failed.errors.items() if isinstance(e, dht.DidNotHappen)]
    """

    def __init__(self, errors: dict[str, DhtError], done: dict[str, Any]) -> None:
        self.errors = errors
        self.done = done
        name, error = next(iter(errors.items()))
        self.__cause__ = error
        unknown = sum(not isinstance(error, DidNotHappen) for error in errors.values())
        super().__init__(
            f"{len(errors)} of {len(errors) + len(done)} names failed, {unknown} of them with an"
            f" unknown outcome; look at `errors` for each. The first, {name!r}: {error}"
        )

    def __reduce__(self) -> tuple[type[ManyFailed], tuple[dict[str, DhtError], dict[str, Any]]]:
        return type(self), (self.errors, self.done)


def _say_where_they_are() -> None:
    """Have messages and pickles name `dht`, from where programs import these classes."""
    for name in __all__:
        globals()[name].__module__ = "dht"


_say_where_they_are()
