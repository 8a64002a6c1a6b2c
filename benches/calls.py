"""Rows about Python programs: a call in a loop beside memcached's client, and the command."""

import importlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import dht
from parties import ROOT, SCRIPTS, Parties, Party, quiet_env
from serving import Gauge
from table import Row, Series, alternate

CALLS = 2_000
CALL_ROUNDS = 25
STARTS = 10
ORIGINALS = ROOT / "tests" / "python"
COST_RATIO_MAX = 0.6


def show_calls(gauge: Gauge) -> None:
    """`get` in a loop, and `client.py get`."""
    with Parties(gauge.loader) as parties:
        leader, [server] = parties.ring(1)
        with apart() as beside, dht.Client(leader.address, server.address) as client:
            beside(server)
            client.set("apple", "a value")
            runs = {"ours": partial(per_second, partial(client.get, "apple"))}
            if gauge.peer("memcached", "python") and (other := pymemcache(gauge, parties, beside)):
                runs["memcached"] = partial(per_second, other)
            found = alternate(runs, max(CALL_ROUNDS, gauge.rounds))
            row = Row("python", "get in a loop, one thread", "k/s", found.pop("ours"), found)
            gauge.table.add(row.least_of("memcached", 1.0))
        show_command(gauge, leader, server, parties)


@contextmanager
def apart() -> Iterator[Callable[[Party], None]]:
    """Keep this program on one core; what is yielded keeps a server on another.

    Which cores the scheduler gives the two decides more than either's speed, and it may choose once
    for all rounds. Where the system has no such wish, or one core, it does nothing.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield lambda _: None
        return
    cores = sorted(os.sched_getaffinity(0))
    servers: list[Party] = []

    def beside(party: Party) -> None:
        servers.append(party)
        keep(party, cores[-1:])

    os.sched_setaffinity(0, cores[:1])
    try:
        yield beside
    finally:
        os.sched_setaffinity(0, cores)
        for server in servers:
            keep(server, cores)


def keep(party: Party, cores: Sequence[int]) -> None:
    """Have a program run on some cores alone."""
    for thread in Path(f"/proc/{party.process.pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cores)


def pymemcache(
    gauge: Gauge, parties: Parties, beside: Callable[[Party], None]
) -> Callable[[], object] | None:
    """Return what reads the same name by pymemcache; `None` where that is not installed."""
    if importlib.util.find_spec("pymemcache") is None:
        gauge.table.skip(f"pymemcache is not installed: {sys.executable} -m pip install pymemcache")
        return None
    module = importlib.import_module("pymemcache.client.base")
    memcached = parties.memcached()
    beside(memcached)
    host, _, port = memcached.address.rpartition(":")
    client = module.Client((host, int(port)), no_delay=True)
    client.set("apple", "a value", noreply=False)
    assert client.get("apple") == b"a value"
    read: Callable[[], object] = partial(client.get, "apple")
    return read


def per_second(call: Callable[[], object]) -> float:
    """Return how many thousand calls fit into a second."""
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return CALLS / (time.perf_counter() - began) / 1000


def show_command(gauge: Gauge, leader: Party, server: Party, parties: Parties) -> None:
    """What `client.py get` takes above the interpreter's own start."""
    ours = [sys.executable, str(SCRIPTS / "client.py"), "--viewleader", leader.address]
    ours += ["--server", server.address, "get", "apple"]
    port = int(server.address.rpartition(":")[2])
    runs = {
        "ours": partial(wall_ms, ours),
        "bare": partial(wall_ms, [sys.executable, "-c", "pass"]),
        "original": partial(wall_ms, original_get(port)),
    }
    assert b"a value" in subprocess.run(ours, capture_output=True, check=True).stdout
    found = alternate(runs, max(STARTS, gauge.rounds))
    above = {
        name: Series(
            tuple(a - b for a, b in zip(found[name].values, found["bare"].values, strict=True))
        )
        for name in ("ours", "original")
    }
    what = "client.py get above the bare interpreter"
    row = Row("python", what, "ms", above["ours"], {"original": above["original"]})
    gauge.table.add(row)
    ratio = Series((above["ours"].median / above["original"].median,))
    more = Row("python", "that over what the original's costs", "x", ratio)
    gauge.table.add(more.at_most(COST_RATIO_MAX))


def original_get(port: int) -> list[str]:
    """Return the command line of a client that does what the original's does, no more."""
    code = (
        "import argparse, json, socket, struct, sys, time, random, threading, select\n"
        f"s = socket.create_connection(('127.0.0.1', {port}), 5)\n"
        "b = json.dumps({'cmd': 'get', 'key': 'apple'}).encode()\n"
        "s.sendall(struct.pack('!i', len(b)) + b)\n"
        "n, = struct.unpack('!i', s.recv(4))\n"
        "print(json.loads(s.recv(n)))\n"
    )
    return [sys.executable, "-c", code]


def wall_ms(argv: Sequence[str]) -> float:
    """Return how long a program lives."""
    began = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True, env=quiet_env(), cwd=os.curdir)
    return (time.perf_counter() - began) * 1000
