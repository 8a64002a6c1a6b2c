"""The ring's values as a mapping."""

from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dht.client import Client

READ_AT_ONCE_MAX = 1_000
"""How many names `items()` and `values()` read at once."""


class Replicated(MutableMapping[str, Any]):
    """The ring's names and values, as `Client.getr` and `Client.setr` see them.

    It is a view: nothing is kept here, every use asks the ring. There is no delete yet, so `del`,
    `pop`, `popitem` and `clear` raise `TypeError`. `len` and iteration ask every server for its
    names; one that only `Client.set` has stored is not among them. What is written meanwhile may or
    may not appear.

    Example:
        >>> client.replicated["apple"] = {"colour": "red"}
        >>> "apple" in client.replicated, "pear" in client.replicated
        (True, False)
        >>> dict(client.replicated)
        {'apple': {'colour': 'red'}}
    """

    def __init__(self, client: "Client") -> None:
        self._client = client

    def __getitem__(self, name: str) -> Any:
        return self._client.getr(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._client.setr(name, value)

    def __contains__(self, name: object) -> bool:
        """Return whether a name has a value; what is no string has none."""
        if not isinstance(name, str):
            return False
        try:
            self._client.getr(name)
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        """Return every name of the ring once, in alphabetical order."""
        return iter(self._client._ring_names())

    def __len__(self) -> int:
        return len(self._client._ring_names())

    def items(self) -> ItemsView[str, Any]:
        """Return names and values; they are read many at once."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Return the values; they are read many at once."""
        return _Values(self)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return the value of a name, after storing `default` where it had none.

        Reading and writing are two calls: what another client writes in between is overwritten.
        Hold a lock where that matters.
        """
        return super().setdefault(name, default)

    def update(  # type: ignore[override]  # one signature for the many of the base class
        self, other: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **named: Any
    ) -> None:
        """Store many values at once; like `Client.setr_many`, of which it has the errors."""
        self._client.setr_many(dict(other) | named)

    def __delitem__(self, name: str) -> NoReturn:
        _no_delete()

    def pop(self, name: str, default: Any = None) -> NoReturn:
        """Raise `TypeError`: there is no delete yet."""
        _no_delete()

    def popitem(self) -> NoReturn:
        """Raise `TypeError`: there is no delete yet."""
        _no_delete()

    def clear(self) -> NoReturn:
        """Raise `TypeError`: there is no delete yet."""
        _no_delete()

    def __repr__(self) -> str:
        return f"<replicated values of {self._client!r}>"

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Return names and values, read many at once."""
        names = list(self)
        for start in range(0, len(names), READ_AT_ONCE_MAX):
            yield from self._client.getr_many(names[start : start + READ_AT_ONCE_MAX]).items()


class _Items(ItemsView[str, Any]):
    _mapping: Replicated

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._mapping.pairs()


class _Values(ValuesView[Any]):
    _mapping: Replicated

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping.pairs())


def _no_delete() -> NoReturn:
    raise TypeError("a ring has no delete yet; store a value that stands for none, such as None")
