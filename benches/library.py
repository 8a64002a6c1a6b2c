"""Rows about the Python library: what it promises, and what a call costs.

Things that are compared are measured in turns, so that a busy machine slows both, and where one
speed is divided by another, each is its best.
"""

import json
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal

import dht
from table import Row, Table, series

RUNS = 20
NAMES = 1_000
CALLS = 2_000

START_MS_MAX = 50.0
LEASE_MS_MAX = 10.0
IMPORT_RATIO_MAX = 1.5
IMPORT_MS_MORE_MAX = 10.0
MANY_RATIO_MIN = 20.0
BARE_RATIO_MIN = 0.9

HEADER = struct.Struct("!i")
SECONDS_MAX = 10.0


def milliseconds(run: Callable[[], object]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1000


def in_turns(
    *runs: Callable[[], float], of: Callable[[Sequence[float]], float] = statistics.median
) -> list[float]:
    """Return the median, or what `of` says, of each function's results, called in turns."""
    times = [[run() for run in runs] for _ in range(RUNS)]
    return [of(each) for each in zip(*times, strict=True)]


def start_and_stop(clock: Literal["real", "virtual"]) -> None:
    """Start and stop a ring of three servers."""
    with dht.Cluster(servers=3, clock=clock):
        pass


def lease_ms() -> float:
    """Return how long the end of a silent server's lease takes in virtual time."""
    with dht.Cluster(servers=3, clock="virtual", seed=1, lease=30) as cluster:
        cluster.servers[0].pause()
        took = milliseconds(lambda: cluster.advance(31))
        assert len(cluster.view.servers) == 2
    return took


def writes_ms() -> float:
    """Return how long a thousand writes, one after another, take in virtual time."""
    with dht.Cluster(servers=3, clock="virtual", seed=1) as cluster, cluster.client() as client:
        return milliseconds(lambda: [client.setr(f"name {n}", n) for n in range(1000)])


def import_ms(module: str) -> float:
    """Return how long a new interpreter takes to import a module, and nothing else."""
    code = f"import time; a = time.perf_counter(); import {module}; print(time.perf_counter() - a)"
    done = subprocess.run(  # this interpreter, and a name of this file
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return float(done.stdout) * 1000


def process_ms(module: str) -> float:
    """Return how long an interpreter lives that imports a module."""
    argv = [sys.executable, "-c", f"import {module}"]
    return milliseconds(lambda: subprocess.run(argv, check=True))  # as above


def show_imports(table: Table) -> None:
    """Compare `import dht` with `import json`, from inside and with the interpreter's start."""
    measures = [("import dht", import_ms), ("a process that imports dht", process_ms)]
    for what, measure in measures:
        plain, mine = in_turns(partial(measure, "json"), partial(measure, "dht"))
        most = plain * IMPORT_RATIO_MAX + IMPORT_MS_MORE_MAX
        add(table, f"{what} (json: {plain:.2f} ms)", mine, "ms", most=most)


def show_many(table: Table, client: dht.Client) -> None:
    """Compare many names at once with one after another."""
    names = [f"name {number}" for number in range(NAMES)]
    client.setr_many(dict.fromkeys(names, "a value"))
    loop, many = in_turns(
        lambda: milliseconds(lambda: [client.getr(name) for name in names]),
        lambda: milliseconds(lambda: client.getr_many(names)),
        of=min,
    )
    what = f"getr_many of {NAMES} names over getr"
    add(table, what, loop / many, "x", least=MANY_RATIO_MIN)


class Bare:
    """A kept-open connection of `socket`, `struct` and `json` alone."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), SECONDS_MAX)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, **request: object) -> dict[str, object]:
        """Send a request and return the reply."""
        body = json.dumps(request).encode()
        self.sock.sendall(HEADER.pack(len(body)) + body)
        data = self.sock.recv(65_536)
        while len(data) < HEADER.size or len(data) < HEADER.size + HEADER.unpack_from(data)[0]:
            more = self.sock.recv(65_536)
            if not more:
                raise ConnectionError("the connection was closed before the reply")
            data += more
        reply: dict[str, object] = json.loads(data[HEADER.size :])
        return reply


@contextmanager
def bare(address: str) -> Iterator[Bare]:
    """Open a connection, and close it."""
    connection = Bare(address)
    with connection.sock:
        yield connection


def show_round_trips(table: Table, cluster: dht.Cluster) -> None:
    """Compare calls in a loop with a bare socket that says the same."""
    with cluster.client() as client:
        client.setr("apple", "a value")
    leader = cluster.viewleader.address
    primary, revision = primary_and_revision(leader)
    with dht.Client(leader, primary) as client, bare(primary) as socket_:
        read = {"cmd": "dht_read", "key": "apple", "dht": {"revision": revision}}
        get = {"cmd": "get", "key": "apple", "dht": 1}
        for request in (read, get):
            assert socket_.ask(**request) == {"status": "ok", "value": "a value"}, request
        for name, call, request in (("getr", client.getr, read), ("get", client.get, get)):
            compare(table, name, partial(call, "apple"), partial(socket_.ask, **request))


def primary_and_revision(leader: str) -> tuple[str, int]:
    """Return the first server of the name, and the revision that a reader has to name."""
    with bare(leader) as connection:
        reply = connection.ask(cmd="query_servers", dht=1)
    extension = reply["dht"]
    assert isinstance(extension, dict)
    slot = dht.hash_key("apple")
    [[revision, holders]] = [
        (revision, holders)
        for start, end, revision, holders, *_ in extension["ranges"]
        if start <= slot < end
    ]
    return extension["servers"][holders[0]][1], revision


def compare(table: Table, name: str, call: Callable[[], object], say: Callable[[], object]) -> None:
    """Print what a call costs, and how much of it a bare socket would cost as well."""

    def loop(run: Callable[[], object]) -> float:
        return milliseconds(lambda: [run() for _ in range(CALLS // RUNS)])

    mine, plain = in_turns(lambda: loop(call), lambda: loop(say), of=min)
    each_us = 1000 * mine / (CALLS // RUNS)
    add(table, f"{name}, one after another on one thread", each_us, "us")
    what = f"speed of {name} over a bare socket and json"
    add(table, what, plain / mine, "x", least=BARE_RATIO_MIN if name == "get" else 0)


def show_library(table: Table) -> None:
    """Measure everything here."""
    real, virtual = in_turns(
        lambda: milliseconds(partial(start_and_stop, "real")),
        lambda: milliseconds(partial(start_and_stop, "virtual")),
    )
    add(table, "start and stop of a real ring of three", real, "ms", most=START_MS_MAX)
    add(table, "start and stop of a virtual ring of three", virtual, "ms")
    [lease, writes] = in_turns(lease_ms, writes_ms)
    add(table, "end of a lease of 30 s in virtual time", lease, "ms", most=LEASE_MS_MAX)
    add(table, "1000 writes in a row in virtual time", writes, "ms")
    show_imports(table)
    with dht.Cluster(servers=3) as cluster:
        with dht.Client(cluster.viewleader.address) as client:
            show_many(table, client)
        show_round_trips(table, cluster)


def add(
    table: Table, what: str, value: float, unit: str, *, least: float = 0, most: float = 0
) -> None:
    """Add a row of one figure."""
    row = Row("library", what, unit, series([value]))
    if least:
        row.at_least(least)
    if most:
        row.at_most(most)
    table.add(row)
