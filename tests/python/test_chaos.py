"""A slice of what `make sim-real` runs for longer: real processes under faults, judged.

`CHAOS_SEED=7` runs it again with the choices of that seed; a failure prints the seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import placement
from chaos import verdict
from chaos.cluster import Cluster
from chaos.run import run
from chaos.workload import Workload
from dht.testing import NotLinearizable

SEED = int(os.environ.get("CHAOS_SEED", "1"))
KEYS = [f"key{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("kind", "episodes"),
    [
        ("kills", 3),
        ("rolling", 1),
        ("pauses", 2),
        ("network", 3),
        ("leader", 2),
        ("mixed", 2),
        ("cycle", 2),
        ("leave", 2),
    ],
)
def test_a_slice(kind: str, episodes: int) -> None:
    """After each episode nothing is lost, all is linearizable, and everybody is served."""
    summary = run(kind, SEED, once=episodes)
    assert sum(summary.episodes.values()) == episodes
    assert summary.operations["put ok"] > 50, summary
    assert summary.operations["get ok"] > 50, summary


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A ring of four that is stopped when the test ends."""
    made = Cluster(4)
    yield made
    made.stop()


@pytest.fixture
def load(cluster: Cluster) -> Iterator[Workload]:
    """Four clients that are at work."""
    made = Workload(cluster.viewleader, KEYS, 4, seed=str(SEED))
    made.served(10)
    yield made
    made.stop()


def test_a_real_loss_is_noticed(cluster: Cluster, load: Workload) -> None:
    """The three servers of a key are killed at once, and its acknowledged writes with them."""
    load.hold()
    before = load.final()
    key = next(key for key, value in before.items() if value is not None)
    addresses = placement.replicas(cluster.view()["result"], key)
    cluster.kill(*(each for each in cluster.servers() if each.gate.address in addresses))
    cluster.wait_settled()
    assert cluster.misplaced(before)
    load.final()
    lines = load.history.lines()
    assert not verdict.lost(lines, before)
    assert verdict.lost(lines, load.final())[key]
    with pytest.raises(NotLinearizable, match="get read nothing"):
        load.history.check()
