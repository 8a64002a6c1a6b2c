"""How a rebalance shows, and what goes on while it runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

import pytest

import dht
from conftest import StartProgram
from harness import script, wait_until
from rawwire import ask
from rings import HEARTBEAT, Ring, store, unreadable

PAIRS = {f"key{number}": number for number in range(40)}
ASKED = 300  # times that each server is asked, while nothing is to move
LOCK = {"cmd": "lock_get", "lockid": "rebalancing", "requestor": "ann"}


def completed(ring: Ring) -> int:
    """How often the view leader said that a rebalance is complete."""
    return ring.leader.lines.count("Rebalancing complete")


def wait_for_complete(ring: Ring, change: Callable[[], object]) -> None:
    """Makes a change and waits until the view leader says that its rebalance is complete."""
    before = completed(ring)
    change()
    wait_until(lambda: completed(ring) > before, what="Rebalancing complete")


def settle(ring: Ring) -> None:
    """Waits until the ring's lock is granted, and gives it back."""
    wait_until(lambda: ask(ring.leader.port, LOCK) == {"status": "granted"}, what="a settled ring")
    assert ask(ring.leader.port, {**LOCK, "cmd": "lock_release"}) == {"status": "ok"}


def test_the_lock_and_the_lines_show_a_rebalance(
    make_ring: Callable[..., Ring], start: StartProgram
) -> None:
    """While keys move the lock waits and the view leader answers; then it is granted.

    A paused server keeps the rebalance from ending for as long as the test wants.
    """
    ring = make_ring(3, leader_options=())
    client = ring.connect()
    store(client, PAIRS)
    settle(ring)
    before = completed(ring)
    begun = ring.leader.lines.count("Rebalancing...")
    with ring.servers[0].paused():
        ring.begin()
        ring.wait_members()
        wait_until(lambda: ring.leader.lines.count("Rebalancing...") > begun)
        waiting = start(script("client.py", *ring.hosts(), "lock_get", "rebalancing", "bob"))
        waiting.wait_line("Waiting on lock rebalancing...")
        slowest = 0.0
        for _ in range(50):
            began = time.monotonic()
            assert ask(ring.leader.port, LOCK) == {"status": "retry"}
            view = ask(ring.leader.port, {"cmd": "query_servers"})
            assert len(view["result"]) == 4
            port = int(view["result"][0][0].rpartition(":")[2])
            rival = {"cmd": "heartbeat", "port": port, "requestor": "a rival"}
            assert ask(ring.leader.port, rival)["status"] == "retry"
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 2.0
        assert completed(ring) == before
        assert ask(ring.leader.port, {**LOCK, "cmd": "lock_release"}) == {"status": "ok"}
    wait_until(lambda: completed(ring) > before, what="Rebalancing complete")
    assert waiting.wait() == 0
    assert waiting.lines[-1] == "{'status': 'granted'}"
    ring.wait_placed(PAIRS)
    assert not unreadable(client, PAIRS)


def test_complete_is_printed_only_when_every_key_is_in_its_place(
    make_ring: Callable[..., Ring],
) -> None:
    """At the moment of the line nothing is missing and nothing is left over."""
    ring = make_ring(3, leader_options=())
    store(ring.connect(), PAIRS)
    for _ in range(3):
        settle(ring)
        wait_for_complete(ring, ring.add)
        settle(ring)
        ring.wait_placed(PAIRS)
    lines = [line for line in ring.leader.lines if line.startswith("Rebalancing")]
    assert lines[-1] == "Rebalancing complete"


@pytest.mark.parametrize("dies", [False, True], ids=["holds", "dies holding"])
def test_a_holder_of_the_lock_cannot_stop_a_rebalance(
    dies: bool, make_ring: Callable[..., Ring], start: StartProgram
) -> None:
    """The lock is a window, not a brake."""
    ring = make_ring(3, leader_options=())
    store(ring.connect(), PAIRS)
    settle(ring)
    if dies:
        holder = start(script("client.py", *ring.hosts(), "lock_get", "rebalancing", "ann"))
        holder.wait_line("granted")
        holder.kill()
    else:
        assert ask(ring.leader.port, LOCK) == {"status": "granted"}
    wait_for_complete(ring, ring.add)
    ring.wait_placed(PAIRS)


def test_nothing_is_disturbed_when_nothing_changes(make_ring: Callable[..., Ring]) -> None:
    """A settled ring stays settled: no further rebalance, no change of epoch."""
    ring = make_ring(4)
    store(ring.connect(), PAIRS)
    settle(ring)
    epoch, lines = ring.epoch(), list(ring.leader.lines)
    heard = ask(ring.servers[0].port, {"cmd": "dht_stats", "dht": 1})
    deadline = time.monotonic() + 2.0
    wait_until(lambda: time.monotonic() > deadline, what="more than one lease")
    assert (ring.epoch(), ring.leader.lines) == (epoch, lines)
    now = ask(ring.servers[0].port, {"cmd": "dht_stats", "dht": 1})
    assert json.dumps(now["revision"]) == json.dumps(heard["revision"])


def test_what_a_joiner_is_given_waits_while_clients_ask(make_ring: Callable[..., Ring]) -> None:
    """At a byte a second nothing moves while somebody asks, and all as soon as nobody does.

    Where the machine stands still for a moment, nobody asks: then once more with another server.
    """
    ring = make_ring(2, server_options=(*HEARTBEAT, "--transfer-rate", "1"))
    store(ring.connect(), PAIRS)
    settle(ring)
    givers = ring.servers[:]
    for _ in range(10):
        with asking(givers) as asked:
            [joiner] = ring.add()
            wait_asked(asked)
            received = ask(joiner.port, {"cmd": "dht_stats"})["keys_received"]
        settle(ring)
        if received < len(PAIRS):
            break
        ring.kill(joiner)
        ring.wait_members()
        settle(ring)
    else:
        pytest.fail("each of ten servers was given all while clients asked")
    ring.wait_placed(PAIRS)


def test_the_library_has_the_rate_too() -> None:
    """`dht.Server` gives as slowly as it is told to, and refuses what is no rate."""
    with pytest.raises(ValueError, match="transfer_bytes_per_s"):
        dht.Server(transfer_bytes_per_s=-1)
    with ExitStack() as stack:
        leader = stack.enter_context(dht.ViewLeader(listen=0))
        givers = [
            stack.enter_context(dht.Server(leader.address, transfer_bytes_per_s=1))
            for _ in range(2)
        ]
        client = stack.enter_context(dht.Client(leader.address))
        client.setr_many(PAIRS)
        for _ in range(10):
            wait_until(lambda: not leader.statistics().slots_moving, what="a settled ring")
            with asking(givers) as asked, dht.Server(leader.address) as joiner:
                wait_asked(asked)
                received = joiner.statistics().keys_received
            if received < len(PAIRS):
                break
        else:
            pytest.fail("each of ten servers was given all while clients asked")
        assert client.getr_many(PAIRS) == PAIRS


class HasAddress(Protocol):
    """A server, in whatever process."""

    @property
    def address(self) -> str:
        """Its `HOST:PORT`."""
        ...


@contextmanager
def asking(servers: Sequence[HasAddress]) -> Iterator[Callable[[], int]]:
    """Asks each of these servers for something all the time; how often it has, is given."""
    over, asked = threading.Event(), 0

    def ask_all() -> None:
        nonlocal asked
        with ExitStack() as stack:
            clients = [stack.enter_context(dht.Client(server=at.address)) for at in servers]
            while not over.is_set():
                for client in clients:
                    with suppress(KeyError, ConnectionError, TimeoutError):
                        client.get("nothing")
                asked += 1

    thread = threading.Thread(target=ask_all)
    thread.start()
    try:
        yield lambda: asked
    finally:
        over.set()
        thread.join()


def wait_asked(asked: Callable[[], int]) -> None:
    """Waits until each server was asked often enough for what it gives to be seen."""
    until = asked() + ASKED
    wait_until(lambda: asked() >= until, what="answers")
