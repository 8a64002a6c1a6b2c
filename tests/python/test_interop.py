"""Original and new parties in every mixture, for every command.

The originals here are the stand-ins of `originals/`. All eight mixtures run: the two pure ones show
that the stand-ins and the test itself are right.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

import placement
from conftest import StartProgram
from harness import Program, original, run, script, wait_until
from rawwire import ask
from rings import Ring, held_keys

MIXTURES = list(product((False, True), (False, True), (False, True)))


def name_of(mixture: tuple[bool, bool, bool]) -> str:
    """Names a mixture by its original parties."""
    parties = ("client", "server", "viewleader")
    return "+".join(p for p, is_old in zip(parties, mixture, strict=True) if is_old) or "none"


class Mixture:
    """A ring and a client, each original or ours."""

    def __init__(self, mixture: tuple[bool, bool, bool], servers: int = 3) -> None:
        """Starts a ring."""
        self.old_client, self.old_servers, self.old_leader = mixture
        self.ring = Ring(
            servers,
            leader_options=("--lease", "30"),
            original_leader=self.old_leader,
            original_servers=self.old_servers,
        )
        wait_until(self.epochs_agree, what="the servers to know the epoch")

    def epochs_agree(self) -> bool:
        """Whether every server votes with the view's epoch."""
        probe = {"cmd": "setr_request", "key": "is the epoch known"}
        epochs = {ask(server.port, probe).get("epoch") for server in self.ring.servers}
        for server in self.ring.servers:
            ask(server.port, {**probe, "cmd": "setr_deny"})
        return epochs == {self.ring.epoch()}

    def client(self, *args: str, server: Program | None = None) -> tuple[list[str], int]:
        """Runs a client; returns its lines and its status."""
        port = (server or self.ring.servers[0]).port
        options = [f"--server=127.0.0.1:{port}", f"--viewleader={self.ring.leader.address}"]
        argv = original("client") if self.old_client else script("client.py")
        done = run([*argv, *options, *args])
        assert not done.stderr, done.stderr
        return done.stdout.splitlines(), done.returncode

    def reply(self, *args: str, server: Program | None = None) -> Any:
        """Runs a client that prints one dict, and returns it."""
        lines, status = self.client(*args, server=server)
        assert (len(lines), status) == (1, 0), (lines, status)
        return ast.literal_eval(lines[0])


@pytest.fixture(scope="module", params=MIXTURES, ids=[f"old:{name_of(m)}" for m in MIXTURES])
def mixed(request: pytest.FixtureRequest) -> Iterator[Mixture]:
    """One mixture, shared by the tests below."""
    mixture = Mixture(request.param)
    yield mixture
    mixture.ring.stop()


def test_server_commands(mixed: Mixture) -> None:
    """`print`, `set`, `get` and `query_all_keys` reach one server."""
    server = mixed.ring.servers[0]
    assert mixed.reply("print", "good", "morning") == {"status": "ok"}
    server.wait_line("Printing good morning")
    assert mixed.reply("set", "own", "value") == {"status": "ok"}
    server.wait_line("Setting key own to value in local store")
    assert mixed.reply("get", "own") == {"status": "ok", "value": "value"}
    server.wait_line("Querying stored value of own")
    assert mixed.reply("get", "nobody") == {"status": "not_found"}
    server.wait_line("Stored value of key nobody not found")
    assert "own" in mixed.reply("query_all_keys")["result"]
    server.wait_line("Returning all keys")
    assert mixed.reply("get", "own", server=mixed.ring.servers[1]) == {"status": "not_found"}


def test_view_commands(mixed: Mixture) -> None:
    """`query_servers` and the locks reach the view leader."""
    view = mixed.reply("query_servers")
    assert view["epoch"] == 3
    assert {pair[0] for pair in view["result"]} == mixed.ring.addresses()
    assert [pair[1] for pair in view["result"]] == sorted(pair[1] for pair in view["result"])
    assert mixed.reply("lock_get", "L", "ann") == {"status": "granted"}
    assert mixed.reply("lock_release", "L", "bob") == {"status": "unknown"}
    assert mixed.reply("lock_release", "L", "ann") == {"status": "ok"}


def test_setr_and_getr(mixed: Mixture) -> None:
    """A replicated write is on all three servers, is read back, and leaves no vote behind."""
    for value in ("first", "second"):
        lines, status = mixed.client("setr", "planet", value)
        assert lines == [f"Trying to setr planet to {value}", *[f"set planet to {value}"] * 3]
        assert status == 0
        assert mixed.reply("getr", "planet") == {"status": "ok", "value": value}
        for server in mixed.ring.servers:
            got = mixed.reply("get", "planet", server=server)
            assert got == {"status": "ok", "value": value}
    assert mixed.reply("getr", "nowhere") == {"status": "not_found"}
    for server in mixed.ring.servers:
        vote = ask(server.port, {"cmd": "setr_request", "key": "planet"})
        ask(server.port, {"cmd": "setr_deny", "key": "planet"})
        assert vote == {"reply": "ok", "epoch": 3}


def test_setr_is_refused_while_another_writes(mixed: Mixture) -> None:
    """A key that another client has a vote for is refused, and the vote stays that client's."""
    request = {"cmd": "setr_request", "key": "contested"}
    for server in mixed.ring.servers:
        assert ask(server.port, request, "127.0.0.9")["reply"] == "ok"
    lines, status = mixed.client("setr", "contested", "value")
    assert lines[0] == "Trying to setr contested to value"
    assert "key already being set" in lines[-1]
    assert status == 1
    for server in mixed.ring.servers:
        assert ask(server.port, request, "127.0.0.8") == {"reply": "no"}
        ask(server.port, {"cmd": "setr_deny", "key": "contested"}, "127.0.0.9")
    lines, status = mixed.client("setr", "contested", "value")
    assert (lines[-1], status) == ("set contested to value", 0)
    assert mixed.reply("getr", "contested") == {"status": "ok", "value": "value"}


@pytest.mark.parametrize("old_leader", [False, True], ids=["leader", "old:leader"])
@pytest.mark.parametrize("old_client", [False, True], ids=["client", "old:client"])
def test_lock_get_waits(
    old_client: bool, old_leader: bool, make_ring: Callable[..., Ring], start: StartProgram
) -> None:
    """`lock_get` waits for the holder and is granted when it lets go."""
    leader = make_ring(0, leader_options=(), original_leader=old_leader).leader
    lock = {"cmd": "lock_get", "lockid": "W", "requestor": "ann"}
    assert ask(leader.port, lock) == {"status": "granted"}
    argv = original("client") if old_client else script("client.py")
    waiting = start([*argv, "--viewleader", leader.address, "lock_get", "W", "bob"])
    waiting.wait_line("Waiting on lock W...")
    assert ask(leader.port, {**lock, "cmd": "lock_release"}) == {"status": "ok"}
    assert waiting.wait() == 0
    assert waiting.lines[-1] == "{'status': 'granted'}"


@pytest.fixture(params=MIXTURES, ids=[f"old:{name_of(m)}" for m in MIXTURES])
def mixed_five(request: pytest.FixtureRequest) -> Iterator[Mixture]:
    """One mixture with five servers."""
    mixture = Mixture(request.param, 5)
    yield mixture
    mixture.ring.stop()


def test_keys_stand_on_their_three_servers(mixed_five: Mixture) -> None:
    """With five servers, what each client writes is where its own rule looks for it."""
    view = mixed_five.ring.view()
    assert len(view) == 5
    keys = [f"key{number}" for number in range(4)]
    for key in keys:
        lines, status = mixed_five.client("setr", key, f"value of {key}")
        assert (lines.count(f"set {key} to value of {key}"), status) == (3, 0), lines
    expected = placement.expected_keys(view, keys)
    for address, wanted in expected.items():
        assert (held_keys(address) or set()) & set(keys) == wanted
    for key in keys:
        assert mixed_five.reply("getr", key) == {"status": "ok", "value": f"value of {key}"}


@pytest.mark.parametrize("old_client", [False, True], ids=["client", "old:client"])
def test_servers_of_another_epoch(old_client: bool, make_ring: Callable[..., Ring]) -> None:
    """Original servers that have not heard of the newest view refuse; no vote stays behind."""
    ring = make_ring(
        3,
        leader_options=(),
        server_options=("--heartbeat", "60"),
        original_leader=True,
        original_servers=True,
    )
    argv = original("client") if old_client else script("client.py")
    done = run([*argv, *ring.hosts(), "setr", "a", "1"])
    said = ["Trying to setr a to 1", "server with wrong epoch"]
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (said, "", 1)
    for server in ring.servers:
        assert ask(server.port, {"cmd": "setr_request", "key": "a"})["reply"] == "ok"
        assert ask(server.port, {"cmd": "get", "key": "a"}) == {"status": "not_found"}
