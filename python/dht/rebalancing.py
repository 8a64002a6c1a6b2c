"""The plans after a failure and after a join, under the names that the original gave them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dht.ring import Ring


class Transfer(NamedTuple):
    """A range of slots that gets a further holder.

    Attributes:
        start: The first slot.
        end: One past the last slot.
        source: The address of who gives the copies; `None` where nobody has them, so that the
            range starts empty.
        target: The address of who gets them.
    """

    start: int
    end: int
    source: str | None
    target: str


def rebalancing_f(ring: Ring, failed: Iterable[str]) -> list[Transfer]:
    """Return the plan after a failure: which slots are copied, from whom and to whom.

    Survivors keep what they hold, so each slot is copied once for each holder that it has lost, as
    far as there are servers. Nobody has to delete anything.

    Args:
        ring: The ring before the failure.
        failed: The addresses of the servers that have failed.

    Returns:
        The transfers by their first slot. The source is a survivor that holds the range: its new
        primary, where that has it. `None` says that no holder survives: the data are lost.

    Raises:
        KeyError: The ring has no such server.
        TypeError: `failed` is a single string.

    Example:
        >>> ring = Ring([("a:1", 1000), ("b:1", 3000), ("c:1", 5000), ("d:1", 7000)])
        >>> rebalancing_f(ring, ["b:1"])[0]
        Transfer(start=0, end=1001, source='d:1', target='c:1')
    """
    if isinstance(failed, str):
        raise TypeError("failed is a list of addresses, not one str")
    lost = list(failed)
    after = ring.without(lost)
    return [Transfer(*each) for each in ring._native.transfers(after._native, lost)]


def rebalancing_a(ring: Ring, added: Iterable[Sequence[str | int]]) -> list[Transfer]:
    """Return the plan after a join: which slots are copied, from whom and to whom.

    Only new servers get anything. Whoever is no longer one of a slot's three servers deletes it
    once the new one has it.

    Args:
        ring: The ring before the join.
        added: The address and the position (0 to 9999) of each server that joins.

    Returns:
        The transfers by their first slot. The source is a server that holds the range: its new
        primary, where that has it. `None` says that nobody holds it, as in a ring without servers.

    Raises:
        ValueError: An address is on the ring already, or a position is out of range.

    Example:
        >>> ring = Ring([("a:1", 1000), ("b:1", 3000), ("c:1", 5000)])
        >>> rebalancing_a(ring, [("d:1", 7000)])[0]
        Transfer(start=0, end=1001, source='a:1', target='d:1')
    """
    after = ring.with_servers(added)
    return [Transfer(*each) for each in ring._native.transfers(after._native, [])]
