"""A plain twin of hashing and placement, written from the rules and not from the product."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence


def position(text: str) -> int:
    """The place of `text` on the ring."""
    return int(hashlib.sha1(text.encode("utf-8", "surrogatepass")).hexdigest(), 16) % 10000


def replicas(view: Iterable[Sequence[object]], key: str) -> list[str]:
    """The addresses that hold `key`, first to last, by a linear scan of `[address, hash]` pairs."""
    ring = sorted((int(str(pair[1])), str(pair[0])) for pair in view)
    first = len(ring) - 1
    for index, (place, _) in enumerate(ring):
        if place < position(key):
            first = index
    if not ring:
        return []
    return [ring[(first + step) % len(ring)][1] for step in range(min(3, len(ring)))]


def expected_keys(view: Sequence[Sequence[object]], keys: Iterable[str]) -> Mapping[str, set[str]]:
    """For each address of the view, the keys that it must hold."""
    held: dict[str, set[str]] = {str(pair[0]): set() for pair in view}
    for key in keys:
        for address in replicas(view, key):
            held[address].add(key)
    return held
