"""Rows about many names: memory, a server that joins, and whether anything grows."""

import contextlib
import mmap
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from parties import Parties, Party, ask, settled, wait_until
from serving import Gauge
from table import Row, Series

SAMPLE = struct.Struct("<dIHH")
VALUE_BYTES = 16 + 32
CLIENTS_WHILE_MOVING = 2
BEFORE_SECONDS = 2.0
JOINS = 5
SETTLE_SECONDS_MAX = 300.0
WARM_BYTES = 512 * 1024 * 1024
UNPACED = ("--transfer-rate", "0")


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
        show_paced(gauge, parties, leader, keys)
    with Parties(gauge.loader) as parties:
        leader, _ = parties.ring(3, *UNPACED)
        gauge.fill("frames", leader.address, "setr", keys)
        show_unpaced(gauge, parties, leader, keys)


@dataclass(frozen=True)
class Joined:
    """What one joining gave; times as `time.time` tells them."""

    received: int
    held: int
    came: float
    settled: float
    copy_seconds: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.settled - self.came


@dataclass(frozen=True)
class Noticed:
    """What clients noticed of one."""

    kept: float
    pauses_us: tuple[int, ...]
    """How long each request took for a name that moved, the shortest first."""

    @property
    def p99_ms(self) -> float:
        """What 99 of 100 requests for names that moved did not exceed."""
        assert self.pauses_us, "clients asked for names that moved"
        return self.pauses_us[len(self.pauses_us) * 99 // 100] / 1000


def show_paced(gauge: Gauge, parties: Parties, leader: Party, keys: int) -> None:
    """A fourth server joins while clients work: how long it takes, and what they notice."""
    joins = [join_meanwhile(gauge, parties, leader, keys) for _ in range(JOINS)]
    received = max(joined.received for joined, _ in joins)
    took = series(joined.seconds for joined, _ in joins)
    what = f"a fourth server joins, {received:,} names, clients work"
    gauge.table.add(Row("moving", what, "s", took))
    counts = series(joined.received / max(1, joined.held) for joined, _ in joins)
    gauge.table.add(Row("moving", "names moved for each that had to", "x", counts).at_most(1.0))
    kept = series(noticed.kept for _, noticed in joins)
    what = "getr of slots that stay, while others move"
    gauge.table.add(Row("moving", what, "x of before", kept).at_least(0.8))
    p99 = series(noticed.p99_ms for _, noticed in joins)
    gauge.table.add(Row("moving", "p99 of getr of slots that move", "ms", p99).at_most(50.0))


def show_unpaced(gauge: Gauge, parties: Parties, leader: Party, keys: int) -> None:
    """The same in a ring without a pace, and where nobody asks for anything."""
    joins = [join_meanwhile(gauge, parties, leader, keys) for _ in range(JOINS)]
    ratio = show_speed(gauge, "that with --transfer-rate 0", [joined for joined, _ in joins])
    gauge.table.add(Row("moving", "speed of that over a bare copy", "x", ratio).at_least(0.3))
    kept = series(noticed.kept for _, noticed in joins)
    gauge.table.add(Row("moving", "getr of slots that stay, meanwhile", "x of before", kept))
    alone = [join(gauge, parties, leader) for _ in range(JOINS)]
    ratio = show_speed(gauge, "that while nobody asks", alone)
    gauge.table.add(Row("moving", "speed of that over a bare copy, nobody asks", "x", ratio))


def show_speed(gauge: Gauge, what: str, joins: Sequence[Joined]) -> Series:
    """Add a row of how long joins took, beside a bare copy; the ratios of the two."""
    took = series(joined.seconds for joined in joins)
    copied = series(joined.copy_seconds for joined in joins)
    gauge.table.add(Row("moving", what, "s", took, {"limit": copied}))
    return series(joined.copy_seconds / joined.seconds for joined in joins)


def series(figures: Iterable[float]) -> Series:
    """Return the figures of all rounds."""
    return Series(tuple(figures))


def join_meanwhile(
    gauge: Gauge, parties: Parties, leader: Party, keys: int
) -> tuple[Joined, Noticed]:
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

        def ended() -> None:
            until.touch()
            process.wait(SETTLE_SECONDS_MAX)

        joined = join(gauge, parties, leader, ended)
    return joined, work_meanwhile(samples, before, joined)


def join(
    gauge: Gauge, parties: Parties, leader: Party, has_joined: Callable[[], None] = lambda: None
) -> Joined:
    """Have a fourth server join, and leave again; `has_joined` is called in between."""
    warm_memory()
    joiner = parties.server(leader)
    came = time.time()
    wait_until(partial(settled, leader, 4), "the fourth server to have its share")
    after = time.time()
    has_joined()
    told = ask(joiner.address, {"cmd": "dht_stats", "dht": 1})
    received, held = int(told["keys_received"]), int(told["keys"])
    warm_memory()
    copied = gauge.loader.call("copy", bytes=received * VALUE_BYTES)["seconds"]
    ask(joiner.address, {"cmd": "dht_leave", "dht": 1})
    wait_until(partial(settled, leader, 3), "the three to have all names again")
    return Joined(received, held, came, after, copied)


def warm_memory() -> None:
    """Have the system own the memory that is needed next.

    A virtual machine may get memory from its host when it is touched, and give it back after
    seconds without use. That can take twenty times as long as to clear a page, and whom it meets is
    chance.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    with mmap.mmap(-1, WARM_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        with contextlib.suppress(OSError):  # a system without large pages
            memory.madvise(mmap.MADV_HUGEPAGE)
        for start in range(0, WARM_BYTES, mmap.PAGESIZE):
            memory[start] = 1


def work_meanwhile(samples: Path, before: float, joined: Joined) -> Noticed:
    """What clients kept of their throughput where nothing moved, and what they met elsewhere."""
    came, after = joined.came, joined.settled
    rows = list(SAMPLE.iter_unpack(samples.read_bytes()))
    stay = [row for row in rows if not row[3]]
    quiet = sum(before - BEFORE_SECONDS / 2 <= at < before for at, *_ in stay)
    quiet_rate = quiet / (BEFORE_SECONDS / 2)
    rate = sum(came <= at < after for at, *_ in stay) / max(joined.seconds, 1e-9)
    pauses = sorted(us for at, us, _, moved in rows if moved and came <= at < after)
    return Noticed(rate / max(quiet_rate, 1e-9), tuple(pauses))


class InSmallPages(Parties):
    """Parties whose servers have no pages of 2 MiB, of which one would look like a leak."""

    server_env = MappingProxyType({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"})


def show_growth(gauge: Gauge, seconds: float) -> None:
    """Mixed load, and the memory before and after its second half."""
    with InSmallPages(gauge.loader) as parties:
        leader, servers = parties.ring(3)
        gauge.fill("frames", leader.address, "setr")
        halves = []
        for _ in range(2):
            end = time.monotonic() + seconds / 2
            while time.monotonic() < end:
                mix(gauge, leader, servers)
            halves.append([party.resident_bytes for party in (leader, *servers)])
        grown = max(late / early for early, late in zip(*halves, strict=True))
        what = f"memory after {seconds:.0f} s of mixed load, pages of 4 KiB"
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
