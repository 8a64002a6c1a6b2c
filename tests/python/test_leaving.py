"""Servers that are asked to go: by SIGTERM, by `dht drain`, one after the other, under load."""

from __future__ import annotations

import json
from collections.abc import Callable

from conftest import StartProgram
from harness import Program, answers, closed_port, script, wait_until
from ops import Load, ask, command, terminate
from rawwire import ask as ask_wire
from rings import Ring, store, unreadable

LEAVES = "Leaving the ring; handing over what this server holds"
HAS_LEFT = "Left the ring"


def left_cleanly(server: Program) -> bool:
    """Whether a server said that it leaves, and that it has left, and ended with status 0."""
    status = server.wait(30)
    return (status, server.errors[-2:]) == (0, [LEAVES, HAS_LEFT])


def test_sigterm_hands_over_under_load(make_ring: Callable[..., Ring]) -> None:
    """The server ends with status 0, no call of a client fails, and every copy has moved."""
    ring = make_ring(4)
    pairs = {f"name-{number}": number for number in range(300)}
    store(ring.connect(), pairs)
    load = Load(ring.leader.address, ["a", "b", "c", "d", "e"])
    load.goes_on()
    leaver = ring.servers.pop(0)
    terminate(leaver)
    assert left_cleanly(leaver)
    assert ring.leader.saw(f"Server {leaver.address} is out of the view: it has left as planned")
    load.goes_on()
    load.stop()
    ring.wait_placed([*pairs, "a", "b", "c", "d", "e"])
    assert unreadable(ring.connect(), pairs) == {}


def stuck(ring: Ring) -> Program:
    """A server that cannot leave: the view leader is silent, and its address refuses nobody."""
    server = ring.servers[0]
    ring.leader.pause()
    terminate(server)
    server.wait_line(LEAVES)
    return server


def test_a_second_signal_ends_it_at_once(make_ring: Callable[..., Ring]) -> None:
    """With a line and status 1: others may lack data."""
    ring = make_ring(2)
    server = stuck(ring)
    assert server.alive()
    terminate(server)
    assert server.wait(5) == 1
    assert (
        server.errors[-1] == "server.py: error: ended before others had all that this server held"
    )


def test_ctrl_c_ends_a_leaving_server_at_once(make_ring: Callable[..., Ring]) -> None:
    """As it ends any other."""
    server = stuck(make_ring(2))
    assert server.interrupt() == 130


def test_the_drain_timeout_ends_it(make_ring: Callable[..., Ring]) -> None:
    """Also by the environment."""
    server = stuck(make_ring(2, server_options=("--heartbeat", "0.3", "--drain-timeout", "0.4")))
    assert server.wait(10) == 1


def test_no_view_leader_is_not_waited_for(start: StartProgram) -> None:
    """A server whose view leader is gone says so, and ends."""
    with closed_port() as nobody:
        alone = start(script("server.py", "--port", "0", "--viewleader", f"127.0.0.1:{nobody}"))
        wait_until(lambda: answers(alone.port, "query_all_keys"), what="the server")
        terminate(alone)
        assert left_cleanly(alone), "it was in no view, so nobody needs it"
    leader = start(script("viewleader.py", "--port", "0"))
    server = start(script("server.py", "--port", "0", "--viewleader", leader.address))
    wait_until(lambda: ask_wire(leader.port, {"cmd": "query_servers"})["result"])
    # It must know that, too: who is in no view leaves without a word.
    wait_until(lambda: ask_wire(server.port, {"cmd": "dht_stats", "dht": 1})["revision"])
    terminate(leader)
    assert leader.wait(5) == 0
    with closed_port(leader.port):  # else another test's view leader may get it, and let it go
        terminate(server)
        assert server.wait(20) == 1
    assert server.saw("Can't leave the ring: nobody listens where the view leader was")


def test_drain_over_the_wire(make_ring: Callable[..., Ring]) -> None:
    """`dht drain` waits until the server has left."""
    ring = make_ring(3)
    pairs = {f"name-{number}": number for number in range(100)}
    store(ring.connect(), pairs)
    leaver = ring.servers.pop(1)
    printed, errors, status = ask(ring, "drain", leaver.address.replace("127.0.0.1", "localhost"))
    assert (errors, status) == ("", 0)
    assert printed.splitlines()[-1].endswith("has left")
    assert left_cleanly(leaver)
    assert leaver.address not in {address for address, _ in ring.view()}
    assert unreadable(ring.connect(), pairs) == {}
    printed, errors, status = ask(ring, "drain", leaver.address)
    assert (printed, status) == ("", 1)
    wanted = f"can't connect to {leaver.address}; name a server that runs, as `dht status` lists it"
    assert errors == f"dht drain: error: {wanted}\n"


def test_drain_that_takes_too_long(make_ring: Callable[..., Ring]) -> None:
    """Status 1 and what to do; the server goes on leaving."""
    ring = make_ring(2)
    server = ring.servers[0]
    ring.leader.pause()
    _, errors, status = ask(ring, "drain", server.address, "--timeout", "0.5")
    assert status == 1 and "goes on trying" in errors
    ring.leader.resume()
    assert left_cleanly(server)


def test_the_last_server_says_what_ends_with_it(make_ring: Callable[..., Ring]) -> None:
    """Nobody has its data any more: a line for whoever ends it, by a signal or over the wire."""
    lost = "DATA LOST: 7 names end with this server; no other stays that could take them over"
    for over_the_wire in (False, True):
        ring = make_ring(1)
        store(ring.connect(), {f"name-{number}": number for number in range(7)})
        last = ring.servers[0]
        if over_the_wire:
            printed, errors, status = ask(ring, "drain", last.address)
            assert (printed.splitlines()[-1], status) == (f"{last.address} has left", 0)
            assert errors.startswith(f"dht drain: {last.address} was the last server: ")
        else:
            terminate(last)
        assert last.wait(30) == 0
        assert last.errors[-3:] == [LEAVES, f"{lost}, and it has no --data-dir", HAS_LEFT]


def test_restart_safe(make_ring: Callable[..., Ring]) -> None:
    """No while other copies are missing, with the reason; yes once they are there."""
    ring = make_ring(1)
    only = ring.servers[0].address
    store(ring.connect(), {"warm": 1})  # once the view leader gives slots away
    printed, _, status = ask(ring, "restart-safe", only)
    assert (printed, status) == ("no: no other server stays, so there are no other copies\n", 1)
    printed, _, status = ask(ring, "restart-safe", "127.0.0.1:1")
    assert (printed, status) == ("no: 127.0.0.1:1 is not in the view\n", 1)
    ring.add(2)
    printed, errors, status = ask(ring, "restart-safe", only, "--wait", "20")
    assert (printed, errors, status) == (
        f"yes: every name on {only} has enough other copies\n",
        "",
        0,
    )
    with closed_port() as nobody:
        argv = command("restart-safe", only, "--viewleader", f"127.0.0.1:{nobody}")
        ended = Program(argv)
        assert ended.wait(20) == 1
        where = f"can't connect to 127.0.0.1:{nobody}"
        remedy = "start viewleader.py, or name its host with --viewleader"
        assert ended.errors == [f"dht restart-safe: error: {where}; {remedy}"]


def test_a_rolling_restart(make_ring: Callable[..., Ring]) -> None:
    """Each server in turn is found safe to end, ends, and is replaced; no call fails."""
    ring = make_ring(3)
    pairs = {f"name-{number}": number for number in range(200)}
    store(ring.connect(), pairs)
    load = Load(ring.leader.address, [f"loaded-{number}" for number in range(10)])
    for leaver in list(ring.servers):
        load.goes_on()
        _, errors, status = ask(ring, "restart-safe", leaver.address, "--wait", "30")
        assert (errors, status) == ("", 0)
        terminate(leaver)
        assert left_cleanly(leaver)
        ring.servers.remove(leaver)
        ring.add(1)
    load.goes_on()
    load.stop()
    client = ring.connect()
    assert unreadable(client, pairs) == {}
    ring.wait_placed([*pairs, *(f"loaded-{number}" for number in range(10))])
    assert not ring.leader.saw("DATA LOST") and not ring.leader.saw("WAITING")


def test_leave_on_the_wire_is_answered(make_ring: Callable[..., Ring]) -> None:
    """With the identity that leaves; a view leader refuses it."""
    ring = make_ring(2)
    request = {"cmd": "dht_leave", "dht": 1}
    reply = ask_wire(ring.servers[0].port, request)
    assert reply["status"] == "ok" and 0 <= json.loads(reply["id"]) < 1
    assert left_cleanly(ring.servers[0])
    assert "error" in ask_wire(ring.leader.port, request)
