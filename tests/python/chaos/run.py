"""A whole run: a cluster, its load, and episodes until the time is over."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos import verdict
from chaos.cluster import Cluster
from chaos.cycle import cycle, planned_cycle
from chaos.disks import DISKS
from chaos.nemesis import EPISODES, Episode, Nemesis, heal
from chaos.workload import Workload

SERVERS = 5
KINDS = [*EPISODES, "cycle", "leave", "disks"]
CYCLES: dict[str, list[Episode]] = {"cycle": [cycle], "leave": [planned_cycle]}


@dataclass
class Summary:
    """What a run did."""

    kind: str
    seed: int
    episodes: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    proxy: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        episodes = ", ".join(f"{name} {count}" for name, count in sorted(self.episodes.items()))
        ended = ", ".join(f"{name} {count}" for name, count in sorted(self.operations.items()))
        total = sum(self.operations.values())
        proxy = ", ".join(f"{name} {count}" for name, count in self.proxy.items() if count)
        return (
            f"{self.kind}, seed {self.seed}: {self.seconds:.0f} s; episodes: {episodes}; "
            f"proxy: {proxy or 'nothing'}; "
            f"{total} operations ({ended}); 0 violations, 0 lost acknowledged writes"
        )

    def check_coverage(self) -> None:
        """Fails if a fault was inflicted on nobody."""
        names = ("isolate", "isolate_but_for_clients", "isolate_from_leader")
        cuts = sum(self.episodes[name] for name in names)
        assert self.proxy["held"] + self.proxy["dropped"] >= cuts, self
        assert self.proxy["delayed"] >= self.episodes["slow"], self
        assert self.proxy["reset"] >= self.episodes["resets"], self


def run(
    kind: str,
    seed: int,
    *,
    seconds: float = 0.0,
    once: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Runs episodes of one kind for so many seconds, and `once` of them at least.

    Fails with `AssertionError` at the first thing that is wrong; the history is kept then, and
    standard error tells where.
    """
    rng = random.Random(f"{kind} {seed}")
    summary = Summary(kind, seed)
    clients, key_count = (40, 10) if kind in CYCLES else (8, 60)
    keys = [f"key{number}" for number in range(key_count)]
    began = time.monotonic()
    with ExitStack() as stack:
        data = None
        if kind == "disks":
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dht-disks-")))
        cluster = Cluster(SERVERS, can_leave=kind == "leave", data=data)
        stack.callback(cluster.stop)
        nemesis = Nemesis(cluster, rng)
        think = clients / 400
        load = Workload(cluster.viewleader, keys, clients, seed=str(seed), think_seconds=think)
        stack.callback(load.stop)
        stack.enter_context(explained(summary, nemesis, load))
        locks = verdict.Locks(cluster)
        load.served(verdict.SERVED_ROUNDS)
        for episode in episodes(kind, rng):
            over = time.monotonic() - began >= seconds
            if over and sum(summary.episodes.values()) >= once:
                break
            nemesis.done = []
            summary.episodes[episode.__name__] += 1
            episode(nemesis)
            if kind == "leave":
                assert not load.failures, f"clients noticed: {load.failures}"
            heal(nemesis, SERVERS)
            verdict.check(cluster, load, locks)
            tell(f"{time.monotonic() - began:6.1f} s  {'; '.join(nemesis.done)}")
        summary.operations = verdict.counts(load.history.lines())
        summary.proxy = cluster.proxy.counts()
        summary.check_coverage()
    summary.seconds = time.monotonic() - began
    return summary


def episodes(kind: str, rng: random.Random) -> Iterator[Episode]:
    """Episodes without end: each of the kind once in a random order, and again."""
    choices = list((EPISODES | CYCLES | {"disks": DISKS})[kind])
    while True:
        rng.shuffle(choices)
        yield from choices


@contextmanager
def explained(summary: Summary, nemesis: Nemesis, load: Workload) -> Iterator[None]:
    """On failure keeps the history and everything printed, and says what was done."""
    try:
        yield
    except BaseException as error:
        folder = Path(tempfile.mkdtemp(prefix=f"dht-{summary.kind}-{summary.seed}-"))
        load.history.save(folder / "history.jsonl")
        for server in nemesis.cluster.all_servers():
            lines = [server.gate.address, *server.program.lines, *server.program.errors]
            (folder / f"{server.name}.txt").write_text("\n".join(lines), encoding="utf-8")
        leader = nemesis.cluster.leader
        lines = [*leader.lines, *leader.errors]
        (folder / "leader.txt").write_text("\n".join(lines), encoding="utf-8")
        number = sum(summary.episodes.values())
        story = [
            f"{summary.kind}, seed {summary.seed}, episode {number}: {error}",
            f"done in this episode: {'; '.join(nemesis.done)}",
            f"again: make sim-real KIND={summary.kind} SEED={summary.seed}",
            f"history and output: {folder}",
        ]
        (folder / "story.txt").write_text("\n".join(story), encoding="utf-8")
        print(*story, sep="\n", file=sys.stderr, flush=True)
        raise
