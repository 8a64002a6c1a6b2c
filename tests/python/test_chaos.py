"""A slice of what `make sim-real` runs for longer: real processes under faults, judged.

`CHAOS_SEED=7` runs it again with the choices of that seed; a failure prints the seed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import placement
from chaos import verdict
from chaos.cluster import Cluster
from chaos.nemesis import EPISODES, Nemesis
from chaos.run import run
from chaos.workload import Workload
from dht.testing import NotLinearizable, check_linearizable

SEED = int(os.environ.get("CHAOS_SEED", "1"))
KEYS = [f"key{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("kind", "episodes"),
    [
        ("kills", 5),
        ("rolling", 1),
        ("pauses", 3),
        ("network", 3),
        ("leader", 3),
        ("mixed", 2),
        ("cycle", 2),
        ("leave", 2),
        ("disks", 5),
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


def test_a_failure_says_how_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The seed, the episode, what is wrong, and a folder with the history and all output."""

    def spoilt(nemesis: Nemesis) -> None:
        nemesis.say("spoil it")
        raise AssertionError("it is spoilt")

    monkeypatch.setitem(EPISODES, "kills", [spoilt])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(AssertionError, match="it is spoilt"):
        run("kills", 77, once=1)
    said = capsys.readouterr().err
    assert "kills, seed 77, episode 1: it is spoilt\n" in said
    assert "done in this episode: spoil it\n" in said
    assert "again: make sim-real KIND=kills SEED=77\n" in said
    [folder] = tmp_path.iterdir()
    assert f"history and output: {folder}\n" in said
    assert (folder / "story.txt").read_text(encoding="utf-8") in said
    assert "Listening on" in (folder / "leader.txt").read_text(encoding="utf-8")
    assert (folder / "s5.txt").exists()
    assert check_linearizable((folder / "history.jsonl").read_text(encoding="utf-8")) > 20


def history(*events: tuple[int, str, str | None]) -> list[str]:
    """Puts of one key: process, how the event is called, and the value."""
    return [
        json.dumps({"process": who, "type": kind, "f": "put", "key": "k", "value": value})
        for who, kind, value in events
    ]


A, B = [(0, "invoke", "a"), (0, "ok", "a")], [(1, "invoke", "b"), (1, "ok", "b")]
B_UNKNOWN = [B[0], (1, "info", "b")]


@pytest.mark.parametrize(
    ("events", "final", "lost"),
    [
        ([*A, *B], "b", []),
        ([*A, *B], "a", ["b"]),
        ([*A, *B], None, ["a", "b"]),
        ([*A, (1, "invoke", "b"), (1, "fail", "b")], "a", []),
        ([*A, *B_UNKNOWN], "a", []),
        ([*A, *B_UNKNOWN], "b", []),
        ([*A, B[0]], "b", []),
        ([A[0], B[0], A[1], B[1]], "a", []),
        ([A[0], B[0], A[1], B[1]], None, ["a", "b"]),
    ],
)
def test_what_counts_as_lost(
    events: list[tuple[int, str, str | None]], final: str | None, lost: list[str]
) -> None:
    """Only what was acknowledged, and begun after the value at the end was."""
    gone = verdict.lost(history(*events), {"k": final})
    assert gone.get("k", []) == lost


def test_a_value_from_nowhere() -> None:
    """Nobody wrote it."""
    with pytest.raises(AssertionError, match="k has z, which nobody wrote"):
        verdict.lost(history(*A), {"k": "z"})
