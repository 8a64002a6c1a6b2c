"""Placement as a function: who holds which name, and what a change of members moves."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, final

from dht import _dht

Member = tuple[str, int]
"""A server's address, and its position on the ring."""


class Move(NamedTuple):
    """One copy that a change of the ring makes.

    Attributes:
        name: The name whose value is copied.
        source: The address of who gives it; `None` where nobody has it.
        target: The address of who gets it.
    """

    name: str
    source: str | None
    target: str


@final
class Ring:
    """The servers of a ring with their positions. It never changes, and asks nobody.

    A name lives on three servers: the one with the highest position strictly below the name's own
    (`dht.hash_key`), and the next two up the ring; where no position is below, the ring wraps. On
    all of them where there are three or fewer. Equal positions are ordered by address.

    Rings of the same servers are equal and have the same hash.

    Args:
        servers: The address and the position (0 to 9999) of each server, in any order, as
            `Client.query_servers` returns them.

    Raises:
        ValueError: A position is out of range, or an address is listed twice.
        TypeError: What was given are no such pairs.

    Example:
        >>> ring = Ring([("a:1", 1000), ("b:1", 3000), ("c:1", 5000), ("d:1", 7000)])
        >>> ring.replicas("apple")  # hash_key("apple") is 6784
        ['c:1', 'd:1', 'a:1']
    """

    __slots__ = ("_native", "_servers")

    def __init__(self, servers: Iterable[Sequence[str | int]] = ()) -> None:
        self._native = _dht.Ring(servers)
        self._servers: tuple[Member, ...] = tuple(self._native.servers())

    @property
    def servers(self) -> tuple[Member, ...]:
        """The servers by position: pairs of address and position."""
        return self._servers

    def replicas(self, name: str) -> list[str]:
        """Return who holds a name.

        Args:
            name: Any string.

        Returns:
            The addresses of its three servers, primary first; of all where there are fewer.

        Example:
            >>> Ring([("a:1", 1000), ("b:1", 3000)]).replicas("apple")
            ['b:1', 'a:1']
        """
        return self._native.replicas(name)

    def replicas_many(self, names: Iterable[str]) -> list[list[str]]:
        """Return who holds each of many names, in about half the time of one after another.

        The GIL is released meanwhile.

        Args:
            names: Any strings.

        Returns:
            For each name in its order, what `replicas` returns.

        Raises:
            TypeError: `names` is a single string, or holds something else.

        Example:
            >>> Ring([("a:1", 1000), ("b:1", 3000)]).replicas_many(["apple", "pear"])
            [['b:1', 'a:1'], ['b:1', 'a:1']]
        """
        return self._native.replicas_many(names)

    def replicas_at(self, slot: int) -> list[str]:
        """Return who holds the names of a slot.

        Args:
            slot: From 0 to 9999, such as `dht.hash_key` returns.

        Returns:
            As `replicas`.

        Raises:
            ValueError: There is no such slot.

        Example:
            >>> Ring([("a:1", 10), ("b:1", 20), ("c:1", 30), ("d:1", 40)]).replicas_at(25)
            ['b:1', 'c:1', 'd:1']
        """
        return self._native.replicas_at(slot)

    def slots(self, address: str, *, primary: bool = False) -> list[range]:
        """Return which slots a server holds.

        Args:
            address: The server's address.
            primary: Whether only those count for whose names it comes first.

        Returns:
            Ranges of slots, ascending, that do not touch one another.

        Raises:
            KeyError: The ring has no such server.

        Example:
            >>> Ring([("a:1", 1000), ("b:1", 3000)]).slots("b:1", primary=True)
            [range(0, 1001), range(3001, 10000)]
        """
        if all(address != member for member, _ in self._servers):
            raise KeyError(address)
        return [range(start, end) for start, end in self._native.slots(address, primary)]

    def with_servers(self, added: Iterable[Sequence[str | int]]) -> "Ring":
        """Return the ring after servers have joined.

        Args:
            added: Pairs of address and position.

        Returns:
            A new ring; this one stays as it is.

        Raises:
            ValueError: An address is on the ring already, or a position is out of range.

        Example:
            >>> Ring([("a:1", 1000)]).with_servers([("b:1", 3000)])
            Ring([('a:1', 1000), ('b:1', 3000)])
        """
        return Ring([*self._servers, *added])

    def without(self, removed: Iterable[str]) -> "Ring":
        """Return the ring after servers have failed or left.

        Args:
            removed: Their addresses.

        Returns:
            A new ring; this one stays as it is.

        Raises:
            KeyError: The ring has no such server.
            TypeError: `removed` is a single string.

        Example:
            >>> Ring([("a:1", 1000), ("b:1", 3000)]).without(["a:1"])
            Ring([('b:1', 3000)])
        """
        if isinstance(removed, str):
            raise TypeError("removed is a list of addresses, not one str")
        gone = set(removed)
        for address in sorted(gone - {address for address, _ in self._servers}):
            raise KeyError(address)
        return Ring([member for member in self._servers if member[0] not in gone])

    def moves(self, other: "Ring", keys: Iterable[str]) -> list[Move]:
        """Return which copies a change from this ring to another makes.

        Names whose holders stay the same move nothing, and a holder that stays keeps its copy: the
        moves are the fewest that lead to the other ring.

        Args:
            other: The ring after the change.
            keys: The names that are stored.

        Returns:
            For each name and each new holder of it, in the order of `keys` and of the name's new
            holders: the name, who gives it and who gets it. The giver is the new primary where it
            has the name, else the next new holder that has it, else the old primary.

        Raises:
            TypeError: `keys` is a single string, or holds something else.

        Example:
            >>> before = Ring([("a:1", 1000), ("b:1", 3000), ("c:1", 5000), ("d:1", 7000)])
            >>> before.moves(before.with_servers([("e:1", 6000)]), ["apple"])
            [Move(name='apple', source='d:1', target='e:1')]
        """
        if isinstance(keys, str):
            raise TypeError("keys is a list of names, not one str")
        names = list(keys)
        copies = self._native.copies(other._native, names)
        return [Move(names[place], source, target) for place, source, target in copies]

    def __len__(self) -> int:
        """Return how many servers the ring has."""
        return len(self._servers)

    def __iter__(self) -> Iterator[Member]:
        """Yield the servers by position: pairs of address and position."""
        return iter(self._servers)

    def __eq__(self, other: object) -> bool:
        return self._servers == other._servers if isinstance(other, Ring) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._servers)

    def __repr__(self) -> str:
        return f"Ring({list(self._servers)!r})"

    def __reduce__(self) -> tuple[type["Ring"], tuple[tuple[Member, ...]]]:
        return Ring, (self._servers,)
