"""Measures `dht.Cluster`: its start and stop, and what virtual time costs.

    .venv/bin/python benches/cluster.py

Prints the best and the median of some runs, in milliseconds. Build with `make build` before: the
numbers of a debug build say nothing, and it refuses one.
"""

import statistics
import sys
import time
from collections.abc import Callable

import dht

RUNS = 20


def measure(what: str, run: Callable[[], float]) -> None:
    """Print the best and the median of what some runs took, in seconds."""
    times = sorted(run() * 1000 for _ in range(RUNS))
    print(f"{what:<58}{times[0]:8.2f} ms{statistics.median(times):9.2f} ms")


def real_ring() -> float:
    """Start and stop a real ring."""
    began = time.perf_counter()
    with dht.Cluster(servers=3):
        pass
    return time.perf_counter() - began


def virtual_ring() -> float:
    """Start and stop a virtual ring."""
    began = time.perf_counter()
    with dht.Cluster(servers=3, clock="virtual", seed=1):
        pass
    return time.perf_counter() - began


def lease() -> float:
    """Let the lease of a silent server end in virtual time."""
    with dht.Cluster(servers=3, clock="virtual", seed=1) as cluster:
        cluster.servers[0].pause()
        began = time.perf_counter()
        cluster.advance(31)
        took = time.perf_counter() - began
        assert len(cluster.view.servers) == 2
    return took


def writes() -> float:
    """Write a thousand names one after another in virtual time."""
    with dht.Cluster(servers=3, clock="virtual", seed=1) as cluster, cluster.client() as client:
        began = time.perf_counter()
        for number in range(1000):
            client.setr(f"name {number}", number)
        return time.perf_counter() - began


def main() -> int:
    """Measure everything, and return the exit status."""
    if dht.build_profile != "release":
        print("this is a debug build; run `make build` before", file=sys.stderr)
        return 1
    measure("start and stop of a real ring of three servers", real_ring)
    measure("start and stop of a virtual ring of three servers", virtual_ring)
    measure("the end of a lease of 30 s in virtual time", lease)
    measure("1000 writes, one after another, in virtual time", writes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
