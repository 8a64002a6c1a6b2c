"""What nodes tell while they run: events, figures and log lines."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from typing import get_args

import pytest

import dht
from children import python
from dht import common
from dht.events import _MADE, Events
from harness import ROOT, wait_until
from rawwire import Connection


def until(events: Iterator[dht.Event], kind: str) -> list[dht.Event]:
    """The events up to the first of a kind, that one included."""
    taken = []
    for event in events:
        taken.append(event)
        if event.kind == kind:
            return taken
    raise AssertionError(f"ended without {kind}: {taken}")


def quiet_for_now(leader: dht.ViewLeader) -> None:
    """Waits until nothing moves."""
    wait_until(lambda: leader.statistics().slots_settled == 10_000, what="a settled ring")


def test_a_join_and_a_failure() -> None:
    """The view leader tells who came, that names move, that they are settled, and who went."""
    with dht.ViewLeader() as leader, leader.events(timeout=20) as events:
        with dht.Server(leader.address) as first:
            position = first.statistics().position
            joined = dht.events.Joined(first.address, position, epoch=1)
            assert until(events, "joined") == [joined]
            quiet_for_now(leader)
            with dht.Client(leader.address) as client:
                client.setr("apple", 1)
            second = dht.Server(leader.address).start()
            told = until(events, "joined")[-1]
            assert told.kind == "joined"
            assert (told.address, told.epoch) == (second.address, 2)
            assert {event.kind for event in until(events, "settled")} <= {"moving", "settled"}
            left = second.address
            second.stop()
            gone = until(events, "failed")[-1]
            assert gone.kind == "failed"
            assert (gone.address, gone.reason, gone.epoch) == (left, "gone", 3)
            last = first.address
        waiting = until(events, "waiting")[-1]
        assert waiting.kind == "waiting"
        assert (waiting.slots, waiting.holders) == (10_000, (last,))
        with dht.Server(leader.address):
            lost = until(events, "lost")[-1]
        assert lost.kind == "lost"
        assert (lost.slots, lost.holders) == (10_000, (last,))


def test_iteration_ends_with_the_node() -> None:
    """Each iterator gets every event from its own beginning on, also what came before the end."""
    leader = dht.ViewLeader().start()
    server = dht.Server(leader.address)
    early = leader.events()
    server.start()
    late = leader.events()
    server.leave(timeout=30)
    leader.stop()
    told, told_late = list(early), list(late)
    assert [event.kind for event in told if event.kind in ("joined", "failed")] == [
        "joined",
        "failed",
    ]
    assert told[-len(told_late) :] == told_late
    assert "joined" not in [event.kind for event in told_late]
    assert list(early) == []
    with pytest.raises(RuntimeError, match="not running"):
        leader.events()


def test_events_of_a_server() -> None:
    """What it refused, what it is to print, that nobody answers it, and that it left."""
    with dht.ViewLeader() as leader:
        server = dht.Server(leader.address, heartbeat=0.02).start()
        events = server.events(timeout=20)
        with Connection(server.port) as connection:
            connection.send_text("no JSON")
            refused = until(events, "bad_frame")[-1]
        assert refused.kind == "bad_frame"
        assert refused.peer == "127.0.0.1"
        with dht.Client(server=server.address) as client:
            client.print("good", "morning")
        assert until(events, "printing") == [dht.events.Printing(("good", "morning"))]
        server.leave(timeout=30)
        assert until(events, "left")[-1] == dht.events.Left()
        assert list(events) == []
    with dht.Server(leader_that_ended(), heartbeat=0.02, join_timeout=0) as alone:
        failed = until(alone.events(timeout=20), "heartbeat_failed")[-1]
        assert failed.kind == "heartbeat_failed"
        assert failed.reason


def leader_that_ended() -> str:
    """An address where nobody answers."""
    with dht.ViewLeader() as leader:
        return leader.address


def test_a_timeout_and_what_is_pending() -> None:
    """A wait that ends in vain is an error, and the iterator goes on working."""
    with dht.ViewLeader() as leader:
        events = leader.events(timeout=0.01)
        assert events.pending() == []
        with pytest.raises(TimeoutError, match=r"no event within 0\.01 s"):
            next(events)
        with dht.Server(leader.address):
            assert events.pending()[0].kind == "joined"
            quiet_for_now(leader)
            events.pending()
            assert events.pending() == []
        events.close()
        events.close()
        assert [event.kind for event in events if event.kind == "joined"] == []


def test_a_close_wakes_whoever_waits() -> None:
    """From another thread."""
    with dht.ViewLeader() as leader, leader.events() as events:
        taken: list[dht.Event] = []
        thread = threading.Thread(target=lambda: taken.extend(events))
        thread.start()
        events.close()
        thread.join(20)
        assert not thread.is_alive()
        assert taken == []


def test_events_keep_their_node() -> None:
    """A node whose only holder is an iterator goes on; without any it ends."""
    events = dht.ViewLeader().start().events(timeout=0)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            next(events)
    assert isinstance(events, Events)


def test_every_note_has_an_event() -> None:
    """All but those about single requests, which nodes of a program leave out."""
    source = (ROOT / "src/py/notes.rs").read_text(encoding="utf-8")
    body = source.partition("match note {")[2].partition("\n    };")[0]
    kinds = set(re.findall(r'(?:=> |\{\s*)\(\s*"(\w+)",', body))
    single = {"setting", "querying", "not_found", "all_keys"}
    assert kinds == set(_MADE) | single
    classes = get_args(dht.Event)
    assert len({each.kind for each in classes}) == len(classes) == len(_MADE)


def test_statistics() -> None:
    """They say who is there, what is stored, and which locks are held."""
    with dht.ViewLeader() as leader, dht.Client(leader.address) as client:
        empty = leader.statistics()
        assert (empty.epoch, empty.slots_settled, empty.locks) == (0, 0, 0)
        assert empty.ring == dht.Ring()
        assert empty.settled
        with dht.Server(leader.address) as server:
            quiet_for_now(leader)
            for number in range(10):
                client.setr(f"name {number}", number)
            with dht.Client(server=server.address) as direct:
                direct.set("own", 1)
            for lock, requestor in (("lock", "ann"), ("lock", "bob"), ("other", "ann")):
                request = {"cmd": "lock_get", "lockid": lock, "requestor": requestor}
                common.send_receive("127.0.0.1", leader.port, request)
            told = leader.statistics()
            assert told.ring == dht.Ring(client.query_servers())
            assert (told.epoch, told.slots_settled, told.slots_moving) == (1, 10_000, 0)
            assert (told.locks, told.lock_queue_longest) == (2, 2)
            held = server.statistics()
            assert (held.address, held.position) == told.ring.servers[0]
            assert (held.epoch, held.keys, held.keys_primary, held.keys_local) == (1, 10, 10, 1)
            assert held.bytes > 10
        for node in (leader, server):
            node.stop()
            with pytest.raises(RuntimeError, match="not running"):
                node.statistics()


def test_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    """They are what the scripts print, under the node's address, each at its level."""
    caplog.set_level(logging.INFO, "dht")
    with dht.ViewLeader() as leader:
        with dht.Server(leader.address) as server:
            address = server.address
            quiet_for_now(leader)
        wait_until(lambda: "WAITING" in caplog.text, what="the wait to be logged")
        with dht.Server(leader.address):
            wait_until(lambda: "DATA LOST" in caplog.text, what="the loss to be logged")
    lines = {(record.name, record.levelname, record.getMessage()) for record in caplog.records}
    place = rf"{re.escape(leader_address(lines))}: "
    position = r"at position \d+, epoch 1"
    text = "\n".join(" ".join(line) for line in sorted(lines))
    assert re.search(rf"dht.viewleader INFO {place}Server {address} joined {position}", text)
    gone = "is out of the view: its process has ended, epoch 2"
    assert re.search(rf"dht.viewleader INFO {place}Server {address} {gone}", text)
    assert re.search(
        rf"dht.viewleader WARNING {place}WAITING: 10000 slots wait for {address}", text
    )
    assert re.search(rf"dht.viewleader ERROR {place}DATA LOST: 10000 slots", text)


LATE_HANDLER = """
import logging, sys
import dht

def join_and_leave():
    dht.Server(leader.address).start().leave()

leader = dht.ViewLeader().start()
join_and_leave()
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(logging.Formatter("%(message)s"))
logger = logging.getLogger("dht.viewleader")
logger.setLevel("INFO")
logger.addHandler(handler)
join_and_leave()
leader.stop()
"""


def test_a_handler_that_comes_later() -> None:
    """Whoever has loaded `logging` may ask for lines of nodes that run already."""
    output = python(LATE_HANDLER)
    assert "joined at position" in output and ", epoch 3" in output
    assert ", epoch 1\n" not in output


def leader_address(lines: set[tuple[str, str, str]]) -> str:
    """The address before each line of the view leader."""
    (address,) = {text.partition(": ")[0] for name, _, text in lines if name == "dht.viewleader"}
    return address
