"""Processes that are killed and come back with what they have on disk."""

from __future__ import annotations

from chaos.cluster import Server
from chaos.nemesis import Episode, Nemesis


def kill_any(nemesis: Nemesis) -> None:
    """Any set of processes is killed at once, the view leader too perhaps; all come back."""
    servers = nemesis.cluster.servers()
    victims = nemesis.rng.sample(servers, nemesis.rng.randint(1, len(servers)))
    _kill_and_restart(nemesis, victims, leader=nemesis.rng.random() < 0.4)


def kill_all(nemesis: Nemesis) -> None:
    """Every process is killed at once, and all come back, in any order."""
    _kill_and_restart(nemesis, nemesis.cluster.servers(), leader=True)


def _kill_and_restart(nemesis: Nemesis, victims: list[Server], *, leader: bool) -> None:
    cluster = nemesis.cluster
    parties: list[Server | None] = [*victims, *[None] * leader]
    told = [server.name for server in victims] + ["the view leader"] * leader
    nemesis.say(f"kill -9 {', '.join(told)} at once")
    if leader:
        cluster.leader.process.kill()
    cluster.kill(*victims)
    if leader:
        cluster.kill_leader()
    nemesis.rng.shuffle(parties)
    for party in parties:
        # Sometimes longer than a lease: those that are still there go on without the others.
        nemesis.last(0, nemesis.rng.choice([0, 0.2, 1.2]))
        if party is None:
            nemesis.say("start the view leader again")
            cluster.restart_leader()
        else:
            nemesis.say(f"start {party.name} again")
            cluster.restart(party)


DISKS: list[Episode] = [kill_any, kill_any, kill_any, kill_any, kill_all]
"""In every five rounds one kills all."""
