"""The cycle in which Riak lost writes: servers join and leave all the time, under load."""

from __future__ import annotations

from chaos.nemesis import Nemesis, names


def cycle(nemesis: Nemesis) -> None:
    """Two servers join and two leave; those that leave are killed, while the others join."""
    cluster = nemesis.cluster
    leaving = nemesis.pick(2)
    joining = cluster.add(2)
    nemesis.say(f"start {names(joining)}")
    nemesis.last(0, 0.5)
    nemesis.say(f"kill -9 {names(leaving)}")
    cluster.kill(*leaving)
    cluster.wait_settled()


def planned_cycle(nemesis: Nemesis) -> None:
    """Two servers join and two leave in good order, which no client notices."""
    cluster = nemesis.cluster
    leaving = nemesis.pick(2)
    joining = cluster.add(2)
    nemesis.say(f"start {names(joining)}")
    nemesis.last(0, 0.5)
    nemesis.say(f"ask {names(leaving)} to leave")
    cluster.leave(*leaving)
