"""The native module's hashing and placement against the plain twin."""

from __future__ import annotations

import random

import pytest

import placement
from dht import _dht


def test_names_of_every_kind() -> None:
    """Any text has the twin's position, a lone surrogate included."""
    rng = random.Random(1)
    alphabet = "abc019 .é☃😀\ud800\udcff\n\0"
    for _ in range(500):
        text = "".join(rng.choices(alphabet, k=rng.randrange(12)))
        assert _dht.hash_key(text) == placement.position(text), repr(text)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9, 40])
def test_rings_of_every_size(count: int) -> None:
    """Every slot's servers are the twin's, with equal hashes and hashes at both ends as well."""
    rng = random.Random(count)
    for _ in range(20):
        places = [rng.choice([0, 1, 5000, 9999, rng.randrange(10000)]) for _ in range(count)]
        servers = [(f"10.0.0.{index}:38000", place) for index, place in enumerate(places)]
        for name in (f"name{number}" for number in range(50)):
            wanted = placement.replicas([list(pair) for pair in servers], name)
            assert _dht.ring_replicas(servers, _dht.hash_key(name)) == wanted
