"""Reads and writes while some of a key's servers are dead but still listed.

A heartbeat without a server behind it is a legal member of the view, so it stands in for a server
that died a moment ago: it never answers, and it stays listed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

import placement
from harness import closed_port, original, run, wait_until
from rawwire import ask
from rings import Ring, store

KEYS = [f"key{number}" for number in range(12)]


def join_without_a_server(ring: Ring, port: int, key: str, rank: int) -> None:
    """Makes a member with nobody behind it the `rank`-th server of `key`."""
    address = f"127.0.0.1:{port}"
    members = ring.view()

    def wanted(requestor: str) -> bool:
        view = [*members, [address, placement.position(requestor)]]
        return bool(placement.replicas(view, key)[rank] == address)

    requestor = next(filter(wanted, (f"nobody {number}" for number in count())))
    heartbeat = {"cmd": "heartbeat", "port": port, "requestor": requestor}
    assert ask(ring.leader.port, heartbeat)["status"] == "ok"
    assert placement.replicas(ring.view(), key)[rank] == address


def votes_left(ring: Ring, key: str) -> list[str]:
    """The running servers that refuse a vote for `key` to a new client."""
    refusing = []
    for server in ring.servers:
        if ask(server.port, {"cmd": "setr_request", "key": key}, "127.0.0.7")["reply"] != "ok":
            refusing.append(server.address)
        ask(server.port, {"cmd": "setr_deny", "key": key}, "127.0.0.7")
    return refusing


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_listed_server_that_never_was(rank: int, make_ring: Callable[..., Ring]) -> None:
    """`getr` finds what is there; `setr` ends without a traceback and leaves no vote behind."""
    ring = make_ring(3, leader_options=())
    stdout, status = ring.client("setr", "planet", "mars")
    assert status == 0, stdout
    with closed_port() as port:
        join_without_a_server(ring, port, "planet", rank)
        assert ring.client("getr", "planet") == ("{'status': 'ok', 'value': 'mars'}\n", 0)
        stdout, status = ring.client("setr", "planet", "venus")
        assert status in (0, 1)
        assert status == 0 or len(stdout.splitlines()) == 2, stdout
        expected = "venus" if status == 0 else "mars"
        got, _ = ring.client("getr", "planet")
        assert got == f"{{'status': 'ok', 'value': '{expected}'}}\n"
        assert not votes_left(ring, "planet")


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_an_original_client_and_a_listed_server_that_never_was(
    rank: int, make_ring: Callable[..., Ring]
) -> None:
    """The original's own dialogue: `getr` goes on to the next, `setr` is refused and forgotten."""
    ring = make_ring(3, leader_options=())
    hosts = ring.hosts()
    assert run(original("client", *hosts, "setr", "planet", "mars")).returncode == 0
    with closed_port() as port:
        join_without_a_server(ring, port, "planet", rank)
        done = run(original("client", *hosts, "getr", "planet"))
        assert done.stdout == "{'status': 'ok', 'value': 'mars'}\n"
        done = run(original("client", *hosts, "setr", "planet", "venus"))
        assert done.returncode == 1
        assert not votes_left(ring, "planet")
        done = run(original("client", *hosts, "getr", "planet"))
        assert done.stdout == "{'status': 'ok', 'value': 'mars'}\n"


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_server_killed_a_moment_ago(rank: int, make_ring: Callable[..., Ring]) -> None:
    """With leases far from running out, the next `getr` and `setr` work all the same."""
    ring = make_ring(4, leader_options=())
    store(ring.connect(), dict.fromkeys(KEYS, "old"))
    ring.wait_placed(KEYS)
    ring.kill(ring.replicas(KEYS[0])[rank])
    assert ring.client("getr", KEYS[0]) == ("{'status': 'ok', 'value': 'old'}\n", 0)
    stdout, status = ring.client("setr", KEYS[0], "new")
    assert status == 0, stdout
    assert ring.client("getr", KEYS[0]) == ("{'status': 'ok', 'value': 'new'}\n", 0)
    wait_until(lambda: not votes_left(ring, KEYS[0]), what="no vote to be left behind")
    ring.wait_placed(KEYS)


def test_two_of_three_killed(make_ring: Callable[..., Ring]) -> None:
    """The third still answers, and takes writes."""
    ring = make_ring(3)
    client = ring.connect()
    store(client, dict.fromkeys(KEYS, 1))
    for server in ring.replicas(KEYS[0])[:2]:
        ring.kill(server)
    assert client.getr('"key0"') == "1"
    store(client, dict.fromkeys(KEYS, 2))
    assert client.getr('"key0"') == "2"
    ring.wait_placed(KEYS)


def test_a_server_dies_between_the_two_messages(make_ring: Callable[..., Ring]) -> None:
    """After its vote, before the write: nothing is lost, no vote stays, the key can be written."""
    ring = make_ring(4, leader_options=())
    client = ring.connect()
    store(client, dict.fromkeys(KEYS, "old"))
    ring.wait_placed(KEYS)
    first, second, third = ring.replicas("key0")
    for server in (first, second, third):
        vote = ask(server.port, {"cmd": "setr_request", "key": "key0"})
        assert vote == {"reply": "ok", "epoch": 4}
    ring.kill(first)
    for server in (second, third):
        reply = ask(server.port, {"cmd": "setr", "key": "key0", "val": "new"})
        assert reply == {} or "error" in reply
    got = client.getr('"key0"')
    assert got in ('"old"', '"new"')
    wait_until(lambda: not votes_left(ring, "key0"), what="no vote to be left behind")
    store(client, {"key0": "newest"})
    assert client.getr('"key0"') == '"newest"'
    ring.wait_placed(KEYS)


def test_a_client_that_dies_after_its_votes(make_ring: Callable[..., Ring]) -> None:
    """A vote is a reservation with a deadline: it does not lock the key for ever."""
    ring = make_ring(1)
    server = ring.servers[0].port
    assert ask(server, {"cmd": "setr_request", "key": "k"})["reply"] == "ok"
    assert ask(server, {"cmd": "setr_request", "key": "k"}, "127.0.0.2") == {"reply": "no"}

    def free() -> bool:
        reply = ask(server, {"cmd": "setr_request", "key": "k"}, "127.0.0.2")
        return reply == {"reply": "ok", "epoch": 1}

    wait_until(free, deadline=15, what="the vote to expire")


def test_nobody_behind_any_member(make_ring: Callable[..., Ring]) -> None:
    """Where none of a key's servers can be reached the dict says so, with status 1."""
    ring = make_ring(0, leader_options=())
    with closed_port() as port:
        heartbeat = {"cmd": "heartbeat", "port": port, "requestor": "nobody"}
        assert ask(ring.leader.port, heartbeat) == {"status": "ok", "epoch": 1}
        stdout, status = ring.client("getr", "a")
        assert stdout.splitlines()[0] == "{'status': 'unable to retrieve a from any server'}"
        assert status == 1
        stdout, status = ring.client("setr", "a", "1")
        assert stdout.splitlines()[0] == "Trying to setr a to 1"
        assert (len(stdout.splitlines()), status) == (2, 1), stdout
