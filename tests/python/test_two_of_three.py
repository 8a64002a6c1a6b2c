"""Two of a key's three servers are killed at the same moment; the third answers for every key."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest

from harness import Program
from rawwire import ask
from rings import Ring, store, unreadable

KEYS = [f"key{number}" for number in range(40)]


def kill_at_once(ring: Ring, victims: list[Program]) -> None:
    """No victim has time to notice that another one is gone."""
    for server in victims:
        server.process.kill()
    for server in victims:
        ring.kill(server)


@pytest.mark.parametrize("survivor", [0, 1, 2])
def test_the_third_answers(survivor: int, make_ring: Callable[..., Ring]) -> None:
    """First, second or third of a key: whoever is left has everything, and takes writes.

    Leases of 30 s show that nobody waits for them to run out.
    """
    ring = make_ring(3, leader_options=())
    client = ring.connect()
    for turn in ["old", "new"]:
        store(client, {key: f"{turn} {key}" for key in KEYS})
    replicas = ring.replicas(KEYS[0])
    alone = replicas.pop(survivor)
    kill_at_once(ring, replicas)
    for key in KEYS:
        assert client.getr(json.dumps(key)) == json.dumps(f"new {key}")
        held = ask(alone.port, {"cmd": "get", "key": key})
        assert held == {"status": "ok", "value": f"new {key}"}
    after = {key: f"after {key}" for key in KEYS}
    store(client, after)
    assert not unreadable(client, after)
    ring.add(2)
    ring.wait_placed(KEYS)
    assert not unreadable(client, after)


def test_any_two_of_five(make_ring: Callable[..., Ring]) -> None:
    """Every pair of the ring is killed once; what is left has every key, and copies it again."""
    ring = make_ring(5, leader_options=())
    client = ring.connect()
    for first, second in itertools.combinations(range(5), 2):
        values = {key: [first, second, key] for key in KEYS}
        store(client, values)
        ring.wait_placed(KEYS)
        kill_at_once(ring, [ring.servers[first], ring.servers[second]])
        assert not unreadable(client, values)
        ring.wait_placed(KEYS)
        ring.add(2)
