"""The faults. Each is inflicted under load and lasts as long as it says; `heal` ends what is left.

Not more than two of three copies are ever gone: the third is what the product promises to need.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import placement
from chaos.cluster import Cluster, Server
from chaos.links import CLIENTS, LEADER, OTHER_CLIENTS, Way
from harness import wait_until

Episode = Callable[["Nemesis"], None]


class Nemesis:
    """A cluster, and the chance that decides what happens to it."""

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        """Does nothing yet."""
        self.cluster = cluster
        self.rng = rng
        self.kills_max = 2
        """How many servers may be killed at once."""
        self.marked: Server | None = None
        """A server that something is wrong with already: it is often picked again."""
        self.done: list[str] = []
        """What was done, in order."""

    def say(self, what: str) -> None:
        """Notes what is done."""
        self.done.append(what)

    def pick(self, count: int = 1) -> list[Server]:
        """Some of the running servers."""
        servers = self.cluster.servers()
        picked = self.rng.sample(servers, count)
        again = self.rng.random() < 0.5
        if self.marked in servers and self.marked not in picked and again:
            picked[0] = self.marked
        return picked

    def last(self, low: float, high: float) -> None:
        """Lets a fault last for a while, while the clients go on."""
        threading.Event().wait(self.rng.uniform(low, high))

    def doomed(self) -> list[Server]:
        """One server or more, as many as may be killed at once."""
        return self.pick(self.rng.randint(1, self.kills_max))

    def others(self, server: Server) -> list[str]:
        """All parties but this server, the view leader and the clients included."""
        names = [each.name for each in self.cluster.servers() if each is not server]
        return [*names, LEADER, CLIENTS, OTHER_CLIENTS]

    def way(self) -> Way:
        """Whether a cut holds or drops."""
        return self.rng.choice([Way.HOLD, Way.DROP])


def names(servers: list[Server]) -> str:
    """The names of servers."""
    return ", ".join(server.name for server in servers)


def stop_past_lease(nemesis: Nemesis, victims: list[Server]) -> None:
    """These servers stop until they have left the view, and then go on."""
    cluster = nemesis.cluster
    nemesis.say(f"stop {names(victims)}")
    cluster.pause(*victims)
    wait_until(lambda: cluster.lists_none(*victims), what="the leases to end")
    nemesis.last(0, 0.5)
    nemesis.say("let them go on")
    cluster.resume()


def kill_one(nemesis: Nemesis) -> None:
    """A server is killed; another one takes its place elsewhere."""
    cluster = nemesis.cluster
    victims = nemesis.pick()
    nemesis.say(f"kill -9 {names(victims)}")
    cluster.kill(*victims)
    wait_until(lambda: cluster.lists_none(*victims), what="the dead to leave the view")
    nemesis.say(f"start {names(cluster.add())}")


def kill_two(nemesis: Nemesis) -> None:
    """Two servers are killed at once, and start again where they were."""
    victims = nemesis.pick(2)
    nemesis.say(f"kill -9 {names(victims)} at once")
    nemesis.cluster.kill(*victims)
    nemesis.last(0, 0.5)
    for server in victims:
        nemesis.say(f"start {server.name} again")
        nemesis.cluster.restart(server)


def rolling(nemesis: Nemesis) -> None:
    """Every server is killed and started again at its address, one after the other."""
    for server in nemesis.cluster.servers():
        nemesis.say(f"restart {server.name}")
        nemesis.cluster.kill(server)
        nemesis.cluster.restart(server)
        nemesis.cluster.wait_settled()


def pause(nemesis: Nemesis) -> None:
    """One server or two stop for longer than a lease, and go on as if nothing had happened."""
    stop_past_lease(nemesis, nemesis.pick(nemesis.rng.randint(1, 2)))


def pause_three(nemesis: Nemesis) -> None:
    """All servers of some keys stop for longer than a lease: the keys wait, and nothing is lost."""
    cluster = nemesis.cluster
    view = cluster.view()["result"]
    addresses = placement.replicas(view, f"key{nemesis.rng.randrange(10)}")
    holders = [each for each in cluster.servers() if each.gate.address in addresses]
    stop_past_lease(nemesis, holders)


def pause_leader(nemesis: Nemesis) -> None:
    """The view leader stops for longer than a lease, and a server may be killed meanwhile."""
    cluster = nemesis.cluster
    nemesis.say("stop the view leader")
    cluster.leader.pause()
    if nemesis.rng.random() < 0.5:
        victims = nemesis.pick()
        nemesis.say(f"kill -9 {names(victims)}")
        cluster.kill(*victims)
    nemesis.last(cluster.lease_seconds, cluster.lease_seconds + 0.5)
    nemesis.say("let it go on")
    cluster.resume()


def isolate(nemesis: Nemesis) -> None:
    """A server and everybody else do not hear one another, until its lease has ended."""
    cluster = nemesis.cluster
    [victim] = nemesis.pick()
    way = nemesis.way()
    nemesis.say(f"cut {victim.name} off, {way.value}")
    cluster.links(victim.name, nemesis.others(victim), way)
    wait_until(lambda: cluster.lists_none(victim), what="its lease to end")
    nemesis.last(0, 0.5)


def isolate_but_for_clients(nemesis: Nemesis) -> None:
    """Clients alone reach a server, which cannot know that others have taken over."""
    cluster = nemesis.cluster
    [victim] = nemesis.pick()
    way = nemesis.way()
    nemesis.say(f"cut {victim.name} off from all but the clients, {way.value}")
    clients = (CLIENTS, OTHER_CLIENTS)
    others = [name for name in nemesis.others(victim) if name not in clients]
    cluster.links(victim.name, others, way)
    wait_until(lambda: cluster.lists_none(victim), what="its lease to end")
    nemesis.last(0.5, 1.5)


def isolate_from_servers(nemesis: Nemesis) -> None:
    """A server reaches the view leader and the clients, but not some or all other servers."""
    [victim] = nemesis.pick()
    others = [each.name for each in nemesis.cluster.servers() if each is not victim]
    cut = nemesis.rng.sample(others, nemesis.rng.randint(1, len(others)))
    way = nemesis.way()
    nemesis.say(f"cut {victim.name} from {', '.join(cut)}, {way.value}")
    nemesis.cluster.links(victim.name, cut, way)
    nemesis.last(0.5, 2)


def isolate_from_leader(nemesis: Nemesis) -> None:
    """One server or two and the view leader do not hear one another, but clients reach all."""
    cluster = nemesis.cluster
    victims = nemesis.pick(nemesis.rng.randint(1, 2))
    way = nemesis.way()
    nemesis.say(f"cut {names(victims)} from the view leader, {way.value}")
    cluster.links(LEADER, [victim.name for victim in victims], way)
    wait_until(lambda: cluster.lists_none(*victims), what="the leases to end")
    nemesis.last(0, 1)


def one_way(nemesis: Nemesis) -> None:
    """What a server says is not heard, or it does not hear what is said."""
    [victim] = nemesis.pick()
    way = nemesis.way()
    others = nemesis.others(victim)
    cut = nemesis.rng.sample(others, nemesis.rng.randint(1, len(others)))
    speaks = nemesis.rng.random() < 0.5
    how = f"{victim.name} is not heard by" if speaks else f"{victim.name} does not hear"
    nemesis.say(f"{how} {', '.join(cut)}, {way.value}")
    for other in cut:
        source, target = (victim.name, other) if speaks else (other, victim.name)
        nemesis.cluster.proxy.set_link(source, target, way)
    nemesis.last(0.5, nemesis.cluster.lease_seconds + 1)


def lose_replies(nemesis: Nemesis) -> None:
    """What a server tells some clients is lost: they ask again for what was done."""
    victims = nemesis.pick(2)
    nemesis.say(f"some clients do not hear {names(victims)}")
    for victim in victims:
        nemesis.cluster.proxy.set_link(victim.name, CLIENTS, Way.DROP)
    nemesis.last(1.5, 2.5)


def hold_and_release(nemesis: Nemesis) -> None:
    """What two parties say to one another comes late, all at once, several times."""
    for _ in range(4):
        [victim] = nemesis.pick()
        other = nemesis.rng.choice(nemesis.others(victim))
        nemesis.say(f"hold what {victim.name} and {other} say")
        nemesis.cluster.links(victim.name, [other], Way.HOLD)
        nemesis.last(0.1, 0.7)
        nemesis.cluster.proxy.heal()


def slow(nemesis: Nemesis) -> None:
    """Whatever goes from or to one server takes its time."""
    [victim] = nemesis.pick()
    delay = nemesis.rng.uniform(0.02, 0.3)
    nemesis.say(f"delay {victim.name} by {delay:.2f} s")
    nemesis.cluster.links(victim.name, nemesis.others(victim), Way.OPEN, delay)
    nemesis.last(0.5, 2)


def resets(nemesis: Nemesis) -> None:
    """Connections are reset, one pair of parties after the other."""
    count = 0
    for _ in range(10):
        [victim] = nemesis.pick()
        other = nemesis.rng.choice(nemesis.others(victim))
        count += nemesis.cluster.proxy.reset(victim.name, other)
        nemesis.last(0, 0.2)
    nemesis.say(f"reset {count} connections of 10 pairs")


def restart_leader(nemesis: Nemesis) -> None:
    """The view leader is killed and another one started; all servers live."""
    nemesis.say("kill -9 the view leader")
    nemesis.cluster.kill_leader()
    nemesis.last(0, 0.7)
    nemesis.say("start another")
    nemesis.cluster.restart_leader()


def restart_leader_and_kill(nemesis: Nemesis) -> None:
    """One server or two die while there is no view leader."""
    nemesis.say("kill -9 the view leader")
    nemesis.cluster.kill_leader()
    victims = nemesis.doomed()
    nemesis.last(0, 0.3)
    nemesis.say(f"kill -9 {names(victims)}")
    nemesis.cluster.kill(*victims)
    nemesis.last(0, 0.3)
    nemesis.say("start another view leader")
    nemesis.cluster.restart_leader()


def restart_leader_and_join(nemesis: Nemesis) -> None:
    """New servers, which hold nothing, wait for the next view leader beside those of the ring."""
    cluster = nemesis.cluster
    nemesis.say("kill -9 the view leader")
    cluster.kill_leader()
    added = cluster.add(nemesis.rng.randint(1, 2))
    nemesis.say(f"start {names(added)}")
    nemesis.last(0, 0.3)
    if nemesis.rng.random() < 0.5:
        victims = nemesis.rng.sample([each for each in cluster.servers() if each not in added], 1)
        nemesis.say(f"kill -9 {names(victims)}")
        cluster.kill(*victims)
    nemesis.say("start another view leader")
    cluster.restart_leader()


def join_and_kill(nemesis: Nemesis) -> None:
    """A server is killed while two others are joining."""
    joiners = nemesis.cluster.add(2)
    nemesis.say(f"start {names(joiners)}")
    nemesis.last(0, 0.4)
    victims = nemesis.pick()
    nemesis.say(f"kill -9 {names(victims)}")
    nemesis.cluster.kill(*victims)


def cut_something(nemesis: Nemesis) -> None:
    """Begins a fault of the network around one server, and does not wait."""
    [victim] = nemesis.pick()
    nemesis.marked = victim
    others = nemesis.others(victim)
    cut = nemesis.rng.sample(others, nemesis.rng.randint(1, len(others)))
    way = nemesis.rng.choice(list(Way))
    delay = nemesis.rng.uniform(0.02, 0.3) if way is Way.OPEN else 0.0
    how = f"delay by {delay:.2f} s" if way is Way.OPEN else way.value
    both = nemesis.rng.random() < 0.5
    nemesis.say(f"{how} what {victim.name} says to {', '.join(cut)}{', and back' * both}")
    for other in cut:
        nemesis.cluster.proxy.set_link(victim.name, other, way, delay)
        if both:
            nemesis.cluster.proxy.set_link(other, victim.name, way, delay)


def two_at_once(nemesis: Nemesis) -> None:
    """Something else goes wrong while the network is broken around a server.

    That server may hold the third copy, and may have been given up: only one more may die.
    """
    nemesis.kills_max = 1
    cut_something(nemesis)
    nemesis.last(0, 1)
    other = nemesis.rng.choice(
        [join_and_kill, pause, pause_leader, resets, restart_leader, restart_leader_and_kill]
    )
    other(nemesis)
    nemesis.last(0, 1)
    nemesis.kills_max, nemesis.marked = 2, None


def kill_half_heard(nemesis: Nemesis) -> None:
    """A server is killed while others do not hear it: its last writes are on some, or on none.

    One that has heard it may be killed with it: what it acknowledged is on the third server too.
    """
    cluster = nemesis.cluster
    [victim] = nemesis.pick()
    others = [each.name for each in cluster.servers() if each is not victim]
    deaf = nemesis.rng.sample(others, nemesis.rng.randint(1, len(others)))
    hearing = [each for each in cluster.servers() if each.name in set(others) - set(deaf)]
    victims = [victim, *nemesis.rng.sample(hearing, min(len(hearing), nemesis.rng.randint(0, 1)))]
    nemesis.say(f"{', '.join(deaf)} do not hear {victim.name}; kill -9 {names(victims)}")
    for name in deaf:
        cluster.proxy.set_link(victim.name, name, Way.DROP)
    nemesis.last(0.1, 0.6)
    cluster.kill(*victims)
    cluster.proxy.heal()
    wait_until(lambda: cluster.lists_none(*victims), what="the dead to leave the view")


EPISODES: dict[str, list[Episode]] = {
    "kills": [kill_one, kill_two, kill_half_heard, join_and_kill, kill_half_heard],
    "rolling": [rolling],
    "pauses": [pause, pause_three, pause_leader],
    "network": [
        isolate,
        isolate_but_for_clients,
        isolate_from_servers,
        isolate_from_leader,
        one_way,
        lose_replies,
        hold_and_release,
        slow,
        resets,
    ],
    "leader": [restart_leader, restart_leader_and_kill, restart_leader_and_join],
    "mixed": [two_at_once],
}


def heal(nemesis: Nemesis, servers: int) -> None:
    """Ends all faults, and brings the ring back to so many servers."""
    cluster = nemesis.cluster
    cluster.proxy.heal()
    cluster.resume()
    here = cluster.servers()
    if len(here) < servers:
        added = cluster.add(servers - len(here))
        nemesis.say(f"start {names(added)}")
    elif len(here) > servers:
        # They hold copies that others must get before the next one goes.
        for server in here[: len(here) - servers]:
            cluster.wait_settled()
            nemesis.say(f"kill -9 {server.name}, one too many")
            cluster.kill(server)
