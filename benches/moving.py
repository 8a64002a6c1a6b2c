"""Rows about many names: memory, a server that joins, and whether anything grows."""

import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from parties import Parties, Party, ask, settled, wait_until
from serving import Gauge
from table import Row, Series

SAMPLE = struct.Struct("<dIHH")
VALUE_BYTES = 16 + 32
CLIENTS_WHILE_MOVING = 2
BEFORE_SECONDS = 2.0
JOINS = 5
SETTLE_SECONDS_MAX = 300.0


def show_memory_and_join(gauge: Gauge, keys: int) -> None:
    """Fill a ring of three, then let a fourth server join while clients work."""
    with Parties(gauge.loader) as parties:
        leader, servers = parties.ring(3)
        before = [server.resident_bytes for server in servers]
        gauge.fill("frames", leader.address, "setr", keys)
        each = [
            (server.resident_bytes - then) / keys
            for server, then in zip(servers, before, strict=True)
        ]
        row = Row("memory", f"memory for a name, {keys:,} names", "B", Series(tuple(each)))
        if gauge.peer("redis-server", "memory"):
            redis = parties.redis()
            then = redis.resident_bytes
            gauge.fill("redis", redis.address, "set", keys)
            row.others["Redis"] = Series(((redis.resident_bytes - then) / keys,))
        gauge.table.add(row.at_most(136.0))
        show_join(gauge, parties, leader, keys)


@dataclass(frozen=True)
class Joined:
    """What one joining gave."""

    received: int
    held: int
    seconds: float
    copy_seconds: float
    kept: float
    p99_ms: float


def show_join(gauge: Gauge, parties: Parties, leader: Party, keys: int) -> None:
    """A fourth server joins, and leaves; how long the first takes, and what clients notice."""
    joins = [join(gauge, parties, leader, keys) for _ in range(JOINS)]

    def each(figure: Callable[[Joined], float]) -> Series:
        return Series(tuple(figure(joined) for joined in joins))

    received = max(joined.received for joined in joins)
    took, copied = each(lambda joined: joined.seconds), each(lambda joined: joined.copy_seconds)
    what = f"a fourth server joins, {received:,} names"
    gauge.table.add(Row("moving", what, "s", took, {"limit": copied}))
    ratio = each(lambda joined: joined.copy_seconds / joined.seconds)
    gauge.table.add(Row("moving", "speed of that over a bare copy", "x", ratio).at_least(0.3))
    counts = each(lambda joined: joined.received / max(1, joined.held))
    gauge.table.add(Row("moving", "names moved for each that had to", "x", counts).at_most(1.0))
    kept = each(lambda joined: joined.kept)
    what = "getr of slots that stay, while others move"
    gauge.table.add(Row("moving", what, "x of before", kept).at_least(0.8))
    p99 = each(lambda joined: joined.p99_ms)
    gauge.table.add(Row("moving", "p99 of getr of slots that move", "ms", p99).at_most(50.0))


def join(gauge: Gauge, parties: Parties, leader: Party, keys: int) -> Joined:
    """Have a fourth server join while clients work, and leave again."""
    folder = parties.folder()
    samples, until = folder / "samples", folder / "end"
    load = gauge.loader.argv(
        "run", dialect="frames", addr=leader.address, work="getr", keys=keys,
        clients=CLIENTS_WHILE_MOVING, seconds=SETTLE_SECONDS_MAX, samples=samples, until=until,
    )  # fmt: skip
    with subprocess.Popen(load, stdout=subprocess.DEVNULL) as process:
        time.sleep(BEFORE_SECONDS)
        before = time.time()
        joiner = parties.server(leader)
        came = time.time()
        wait_until(partial(settled, leader, 4), "the fourth server to have its share")
        after = time.time()
        until.touch()
        process.wait(SETTLE_SECONDS_MAX)
    told = ask(joiner.address, {"cmd": "dht_stats", "dht": 1})
    received, held = int(told["keys_received"]), int(told["keys"])
    copied = gauge.loader.call("copy", bytes=received * VALUE_BYTES)["seconds"]
    kept, p99_ms = work_meanwhile(samples, before, came, after)
    ask(joiner.address, {"cmd": "dht_leave", "dht": 1})
    wait_until(partial(settled, leader, 3), "the three to have all names again")
    return Joined(received, held, after - came, copied, kept, p99_ms)


def work_meanwhile(samples: Path, before: float, came: float, after: float) -> tuple[float, float]:
    """What clients kept of their throughput where nothing moved, and the p99 in ms elsewhere."""
    rows = list(SAMPLE.iter_unpack(samples.read_bytes()))
    stay = [row for row in rows if not row[3]]
    quiet = sum(before - BEFORE_SECONDS / 2 <= at < before for at, *_ in stay)
    quiet_rate = quiet / (BEFORE_SECONDS / 2)
    rate = sum(came <= at < after for at, *_ in stay) / max(after - came, 1e-9)
    pauses = sorted(us for at, us, _, moved in rows if moved and came <= at < after)
    assert pauses, "clients asked for names that moved"
    return rate / max(quiet_rate, 1e-9), pauses[len(pauses) * 99 // 100] / 1000


def show_growth(gauge: Gauge, seconds: float) -> None:
    """Mixed load, and the memory before and after its second half."""
    with Parties(gauge.loader) as parties:
        leader, servers = parties.ring(3)
        gauge.fill("frames", leader.address, "setr")
        halves = []
        for _ in range(2):
            end = time.monotonic() + seconds / 2
            while time.monotonic() < end:
                mix(gauge, leader, servers)
            halves.append([party.resident_bytes for party in (leader, *servers)])
        grown = max(late / early for early, late in zip(*halves, strict=True))
        what = f"memory after {seconds:.0f} s of mixed load"
        row = Row("growth", what, "x of half-way", Series((grown,)))
        gauge.table.add(row.at_most(1.02))


def mix(gauge: Gauge, leader: Party, servers: list[Party]) -> None:
    """Load everything for a moment."""
    loads = [(leader, work, {"clients": 20}) for work in ("setr", "getr")]
    loads += [(servers[0], "set", {"clients": 8, "once": 1}), (leader, "lock", {"clients": 8})]
    running = [
        subprocess.Popen(
            gauge.loader.argv(
                "run", dialect="frames", addr=party.address, work=work, seconds=1, **how
            ),
            stdout=subprocess.DEVNULL,
        )
        for party, work, how in loads
    ]
    for process in running:
        assert process.wait(60) == 0, process.args
