"""Rows about requests: plain ones, replicated writes, confirmed reads, locks and heartbeats."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

from parties import HOW_TO_INSTALL, Loader, Parties, Party, installed
from table import Row, Series, Table, alternate

KEYS = 10_000
RINGS = 3
HEARTBEATS_PER_SECOND = 1_000  # 10,000 servers, one each 10 s
HEARTBEAT_SERVERS = 10_000
HEARTBEAT_SERVERS_QUICK = 1_000
HEARTBEAT_SECONDS_MIN = 2.0
VIEWS = (100, 300, 1_000)

Run = Callable[[], float]


class Gauge:
    """Takes measurements of so many seconds, so many rounds.

    Args:
        loader: The load generator.
        table: Where the rows go.
        seconds: How long one measurement lasts.
        rounds: How often each is taken.
    """

    def __init__(self, loader: Loader, table: Table, seconds: float, rounds: int) -> None:
        self.loader = loader
        self.table = table
        self.seconds = seconds
        self.rounds = rounds

    def rate(self, dialect: str, addr: str, work: str, **how: object) -> Run:
        """Return what measures thousands of operations in a second."""
        options = {"dialect": dialect, "addr": addr, "work": work, "keys": KEYS} | how
        options["seconds"] = self.seconds
        return lambda: self.loader.call("run", **options)["per_second"] / 1000

    def latency(self, dialect: str, addr: str, work: str, **how: object) -> Run:
        """Return what measures the median of the time that an operation takes, in µs."""
        options = {"dialect": dialect, "addr": addr, "work": work, "keys": KEYS} | how
        options["seconds"] = self.seconds
        return lambda: self.loader.call("run", **options)["p50_us"]

    def fill(self, dialect: str, addr: str, work: str, keys: int = KEYS) -> None:
        """Write every name once."""
        options = {"dialect": dialect, "addr": addr, "work": work, "keys": keys, "count": keys}
        clients = {"clients": 30} if dialect == "etcd" else {"clients": 8, "in_flight": 16}
        self.loader.call("run", in_order=1, **options, **clients)

    def row(self, group: str, what: str, unit: str, runs: dict[str, Run]) -> Row:
        """Measure a row; the first function is ours."""
        found = alternate(runs, self.rounds)
        ours, *others = found.items()
        return Row(group, what, unit, ours[1], dict(others))

    def peer(self, program: str, group: str) -> bool:
        """Return whether a peer is installed; where it is not, that is said."""
        if not installed(program):
            self.table.skip(f"{HOW_TO_INSTALL[program]} (its part of {group})")
        return installed(program)


def show_plain(gauge: Gauge) -> None:
    """`get` and `set` at one server."""
    with Parties(gauge.loader) as parties:
        bare_get, bare_set = parties.bare(), parties.bare('{"status": "ok"}')
        _, [server] = parties.ring(1)
        peers = {}
        if gauge.peer("redis-server", "requests"):
            peers["Redis"] = ("redis", parties.redis().address)
        if gauge.peer("memcached", "requests"):
            peers["memcached"] = ("memcached", parties.memcached().address)
        for dialect, addr in [("frames", server.address), *peers.values()]:
            gauge.fill(dialect, addr, "set")
        for work, bare in (("get", bare_get), ("set", bare_set)):
            for clients in (1, 8):
                show_once(gauge, work, server, bare, clients)
            for clients in (1, 8, 50):
                show_kept_open(gauge, work, server, bare, peers, clients, 1)
            show_kept_open(gauge, work, server, bare, peers, 8, 16)


def show_once(gauge: Gauge, work: str, server: Party, bare: Party, clients: int) -> None:
    """One request for each connection, as the original's clients do."""
    rate = partial(gauge.rate, "frames", work=work, clients=clients, once=1)
    limit = partial(gauge.rate, "frames", bare.address, work, clients=clients, once=1, keys=1)
    what = f"{work}, one per connection, {clients} at once"
    row = gauge.row("requests", what, "k/s", {"ours": rate(server.address), "limit": limit()})
    gauge.table.add(row.least_of("limit", 0.95) if clients == 8 else row)


def show_kept_open(
    gauge: Gauge,
    work: str,
    server: Party,
    bare: Party,
    peers: dict[str, tuple[str, str]],
    clients: int,
    in_flight: int,
) -> None:
    """Many requests on each connection."""
    how = {"clients": clients, "in_flight": in_flight}
    runs = {"ours": gauge.rate("frames", server.address, work, **how)}
    runs["limit"] = gauge.rate("frames", bare.address, work, **(how | {"keys": 1}))
    for name, (dialect, addr) in peers.items():
        runs[name] = gauge.rate(dialect, addr, work, **how)
    many = f", {in_flight} in flight" if in_flight > 1 else ""
    row = gauge.row("requests", f"{work}, kept open, {clients} clients{many}", "k/s", runs)
    if in_flight > 1:
        row.least_of("limit", 0.7)
    elif clients == 50:
        row.least_of("limit", 0.9).least_of("Redis", 1.0)
    gauge.table.add(row)


def show_writes(gauge: Gauge) -> None:
    """`setr` with three copies, each server a process of its own."""
    with Parties(gauge.loader) as parties:
        rings = [leader.address for leader, _ in filled_rings(gauge, parties)]
        redis = parties.redis(2).address if gauge.peer("redis-server", "setr") else ""
        etcd = parties.etcd() if gauge.peer("etcd", "setr") else ""
        for clients in (1, 8, 50):
            runs = {"ours": each_in_turn(gauge, rings, "setr", clients)}
            if redis:
                runs["Redis"] = gauge.rate("redis", redis, "setr", clients=clients)
            if etcd and clients != 8:
                runs["etcd"] = gauge.rate("etcd", etcd, "setr", clients=clients)
            row = gauge.row("setr", f"setr, three copies, {clients} clients", "k/s", runs)
            row.least_of("Redis", 1.0)
            gauge.table.add(row.least_of("etcd", 4.0) if clients == 50 else row)


def filled_rings(gauge: Gauge, parties: Parties) -> list[tuple[Party, list[Party]]]:
    """Start rings of three servers, which hold every name.

    What part of a ring each server gets is drawn, and with it how many clients ask it: of several
    rings none decides.
    """
    rings = [parties.ring(3) for _ in range(RINGS)]
    for leader, _ in rings:
        gauge.fill("frames", leader.address, "setr")
    return rings


def each_in_turn(gauge: Gauge, addresses: Sequence[str], work: str, clients: int) -> Run:
    """Return what measures another ring each time."""
    runs = cycle([gauge.rate("frames", addr, work, clients=clients) for addr in addresses])
    return lambda: next(runs)()


def show_reads(gauge: Gauge) -> None:
    """`getr`, confirmed by the other two."""
    with Parties(gauge.loader) as parties:
        rings = filled_rings(gauge, parties)
        leader, servers = rings[0]
        bare = parties.bare()
        addresses = [leader.address for leader, _ in rings]
        runs = {"ours": each_in_turn(gauge, addresses, "getr", 50)}
        if gauge.peer("redis-server", "getr"):
            redis = parties.redis().address
            gauge.fill("redis", redis, "set")
            runs["Redis"] = gauge.rate("redis", redis, "get", clients=50)
        if gauge.peer("etcd", "getr"):
            etcd = parties.etcd()
            gauge.fill("etcd", etcd, "setr")
            runs["etcd"] = gauge.rate("etcd", etcd, "getr", clients=50)
        row = gauge.row("getr", "getr, confirmed, 50 clients", "k/s", runs)
        gauge.table.add(row.least_of("Redis", 0.5).least_of("etcd", 6.0))
        hop = alternate(
            {
                "ours": gauge.latency("frames", leader.address, "getr"),
                "get": gauge.latency("frames", servers[0].address, "get"),
                "limit": gauge.latency("frames", bare.address, "get", keys=1),
            },
            gauge.rounds,
        )
        row = Row("getr", "getr, confirmed, 1 client", "µs", hop.pop("ours"), hop)
        extra = [
            (ours - get) / limit
            for ours, get, limit in zip(
                row.ours.values, hop["get"].values, hop["limit"].values, strict=True
            )
        ]
        gauge.table.add(row)
        more = Row("getr", "getr over get, 1 client", "bare round trips", Series(tuple(extra)))
        gauge.table.add(more.at_most(1.0))


def show_leader(gauge: Gauge) -> None:
    """The view leader: locks, heartbeats, and how long a change of the view is computed."""
    with Parties(gauge.loader) as parties:
        leader = parties.viewleader()
        show_locks(gauge, parties, leader)
        gauge.table.add(heartbeats(gauge, leader))
    for servers in VIEWS:
        found = [gauge.loader.call("view", servers=servers) for _ in range(gauge.rounds)]
        for what, name in (("joins", "join_us"), ("lost", "end_us")):
            took = Series(tuple(each[name] / 1000 for each in found))
            row = Row("leader", f"view change, {servers:,} servers, one {what}", "ms", took)
            gauge.table.add(row.at_most(10.0) if servers == max(VIEWS) else row)
        each_us = Series(tuple(each["heartbeat_us"] for each in found))
        what = f"heartbeat of ours, machine alone, {servers:,}"
        gauge.table.add(Row("leader", what, "µs", each_us))


def show_locks(gauge: Gauge, parties: Parties, leader: Party) -> None:
    """Locks on one connection, beside the original, which takes one request on each."""
    bare = parties.bare('{"status": "ok"}')
    original = parties.original_viewleader()
    for in_flight in (1, 16):
        lock = partial(gauge.rate, work="lock", in_flight=in_flight)
        limit = gauge.rate("frames", bare.address, "set", in_flight=in_flight, keys=1)
        runs = {"ours": halved(lock("frames", leader.address)), "limit": halved(limit)}
        runs["original"] = halved(gauge.rate("frames", original.address, "lock", once=1))
        what = "lock get and release, one connection"
        what += f", {in_flight} in flight" if in_flight > 1 else ", one by one"
        row = gauge.row("leader", what, "k/s", runs)
        gauge.table.add(row.least_of("original", 10.0) if in_flight > 1 else row)


def halved(run: Run) -> Run:
    """Count two requests as one."""
    return lambda: run() / 2


def heartbeats(gauge: Gauge, leader: Party) -> Row:
    """What part of a core the heartbeats of 10,000 servers take; in a quick look, of fewer."""
    servers = HEARTBEAT_SERVERS if gauge.seconds >= 1 else HEARTBEAT_SERVERS_QUICK
    load = {"dialect": "frames", "addr": leader.address, "work": "heartbeat", "in_order": 1}
    load |= {"keys": servers, "clients": 8}
    gauge.loader.call("run", count=servers, **load)
    seconds = max(HEARTBEAT_SECONDS_MIN, gauge.seconds)
    shares = []
    for _ in range(gauge.rounds):
        before = leader.cpu_seconds
        gauge.loader.call("run", seconds=seconds, rate=HEARTBEATS_PER_SECOND, **load)
        shares.append((leader.cpu_seconds - before) / seconds * 100)
    what = f"1,000 heartbeats/s, {servers:,} servers"
    row = Row("leader", what, "% of a core", Series(tuple(shares)))
    return row.at_most(5.0)
