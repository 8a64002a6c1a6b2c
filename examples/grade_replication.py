"""Grades a ring: are keys on three servers, and do they survive the death of two?

A grader's view, with nothing but the public API of `dht`, in virtual time: a lease of 30 s costs
nothing, and a seed gives the same ring, the same deaths and the same marks again.

    python examples/grade_replication.py [SEED]

Prints a line for each check, and exits 0 where every point was given, else 1.
"""

import sys
from collections.abc import Callable, Iterable

import dht
from dht.testing import NotLinearizable

SERVERS = 6
COPIES = 3
NAMES = [f"key {number}" for number in range(60)]

Check = Callable[[dht.Cluster, dht.Client], None]


class Failed(Exception):
    """A check found what should not be."""


def acknowledged_by_three(cluster: dht.Cluster, client: dht.Client) -> None:
    """Every write is acknowledged by three servers."""
    for number, name in enumerate(NAMES):
        expect(name, "copies", client.setr(name, number), COPIES)


def on_the_ring_s_three(cluster: dht.Cluster, client: dht.Client) -> None:
    """Every key is on the three servers that follow it on the ring, and nowhere else."""
    ring = dht.Ring(cluster.view.servers)
    for name in NAMES:
        expect(name, "servers", cluster.where(name), ring.replicas(name))


def two_die_at_once(cluster: dht.Cluster, client: dht.Client) -> None:
    """Two of the three servers of a key die at once, and no value is lost."""
    victims = cluster.where(NAMES[0])[:2]
    for server in cluster.servers:
        if server.address in victims:
            server.kill()
    for number, name in enumerate(NAMES):
        expect(name, "value", client.getr(name), number)


def healed(cluster: dht.Cluster, client: dht.Client) -> None:
    """After that every key is on three servers again."""
    cluster.wait_settled()
    for name in NAMES:
        expect(name, "copies", len(cluster.where(name)), COPIES)


def silent_server(cluster: dht.Cluster, client: dht.Client) -> None:
    """A server that says nothing more is given up when its lease ends, and nothing is lost."""
    silent = next(server for server in cluster.servers if server.state == "running")
    silent.pause()
    cluster.advance(31)
    expect("the view", "has the silent server", silent.address in dict(cluster.view.servers), False)
    for number, name in enumerate(NAMES):
        expect(name, "value", client.getr(name), number)


def linearizable(cluster: dht.Cluster, client: dht.Client) -> None:
    """All that the client was told fits together."""
    try:
        cluster.check_linearizable()
    except NotLinearizable as error:
        raise Failed(str(error)) from error


CHECKS: list[tuple[int, Check]] = [
    (10, acknowledged_by_three),
    (20, on_the_ring_s_three),
    (30, two_die_at_once),
    (20, healed),
    (10, silent_server),
    (10, linearizable),
]


def expect(what: str, which: str, found: object, wanted: object) -> None:
    """Fail where what was found is not what was wanted."""
    if found != wanted:
        raise Failed(f"{what}: {which} {found!r}, not {wanted!r}")


def grade(checks: Iterable[tuple[int, Check]], seed: int) -> int:
    """Do all checks on one ring, one after another, and return how many points were lost."""
    lost = 0
    with dht.Cluster(SERVERS, clock="virtual", seed=seed) as cluster, cluster.client() as client:
        for points, check in checks:
            what = (check.__doc__ or check.__name__).rstrip(".")
            try:
                check(cluster, client)
            except (Failed, KeyError, OSError, dht.DhtError) as error:
                lost += points
                print(f" 0/{points}  {what}: {type(error).__name__}: {error}")
            else:
                print(f"{points:2}/{points}  {what}")
    return lost


def main() -> int:
    """Grade, and return the exit status."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    total = sum(points for points, _ in CHECKS)
    lost = grade(CHECKS, seed)
    print(f"{total - lost} of {total} points, seed {seed}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
