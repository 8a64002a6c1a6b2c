"""Rings of every small size: each server in turn is killed, and each time a new one is added.

After every change each key stands on exactly its three servers and is readable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dht import _dht
from rings import Ring, store, unreadable

PAIRS: Mapping[str, Any] = {
    f"key {number} é☃": {"n": [number, "x" * number]} for number in range(60)
}


def check(ring: Ring, client: _dht.Client, change: str) -> None:
    """Fails unless every key is on its right servers and readable."""
    ring.wait_placed(PAIRS)
    assert not unreadable(client, PAIRS), f"after {change}; leader: {ring.leader.lines}"


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 9])
def test_each_server_killed_and_a_new_one_added(size: int, make_ring: Callable[..., Ring]) -> None:
    """No kill and no join loses, misplaces or hides a key."""
    ring = make_ring(size)
    client = ring.connect()
    store(client, PAIRS)
    check(ring, client, "the start")
    for server in list(ring.servers):
        ring.kill(server)
        check(ring, client, f"the kill of {server.address}")
        (added,) = ring.add()
        check(ring, client, f"the start of {added.address}")


def test_one_server_replaced(make_ring: Callable[..., Ring]) -> None:
    """A lone server hands its keys to a new one and can then be killed."""
    ring = make_ring(1)
    client = ring.connect()
    store(client, PAIRS)
    check(ring, client, "the start")
    for _ in range(2):
        ring.add()
        check(ring, client, "a join")
        ring.kill(ring.servers[0])
        check(ring, client, "a kill")


def test_changes_during_a_rebalance(make_ring: Callable[..., Ring]) -> None:
    """Joins and failures that come while keys move are dealt with all the same."""
    ring = make_ring(4)
    client = ring.connect()
    store(client, PAIRS)
    ring.wait_placed(PAIRS)
    for _ in range(3):
        ring.begin()
        ring.kill(ring.servers[0])
        ring.begin()
        ring.wait_members()
        store(client, PAIRS)
        ring.kill(ring.servers[-1])
        check(ring, client, "two joins and two kills")


def test_writes_go_on_during_changes(make_ring: Callable[..., Ring]) -> None:
    """What is written between the changes is kept as well as what was there before."""
    ring = make_ring(3)
    client = ring.connect()
    written: dict[str, Any] = {}
    for turn in range(4):
        ring.begin()
        fresh = {f"turn {turn} key {number}": [turn, number] for number in range(30)}
        store(client, fresh)
        written |= fresh
        assert not unreadable(client, written)
        ring.wait_members()
        ring.kill(ring.servers[0])
        store(client, dict.fromkeys(fresh, "again"))
        written |= dict.fromkeys(fresh, "again")
        assert not unreadable(client, written)
        ring.wait_placed(written)
