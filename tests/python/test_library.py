"""`import dht`: nodes and clients inside a Python program."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dht
from harness import clean_env, closed_port, wait_until
from rawwire import ask


@pytest.fixture(scope="module")
def leader() -> Iterator[dht.ViewLeader]:
    """A view leader with three servers, all in this process."""
    with (
        dht.ViewLeader() as leader,
        dht.Server(leader.address),
        dht.Server(leader.address),
        dht.Server(leader.address),
    ):
        view = {"cmd": "query_servers"}
        wait_until(lambda: len(ask(leader.port, view)["result"]) == 3, what="three servers")
        yield leader


@pytest.mark.parametrize(
    "value",
    [1, 1.5, "text ☃", "\ud800", None, True, [1, [2]], {"a": {"b": []}}, "", 10**40],
    ids=lambda value: type(value).__name__,
)
def test_values_come_back(leader: dht.ViewLeader, value: Any) -> None:
    """What `setr` stores, `getr` gives back."""
    with dht.Client(leader.address) as client:
        assert client.setr("value", value) == 3
        assert client.getr("value") == value


def test_a_name_without_a_value(leader: dht.ViewLeader) -> None:
    """It is a `KeyError`, as in a dict."""
    with dht.Client(leader.address) as client, pytest.raises(KeyError):
        client.getr("no such name")


def test_one_server_alone(leader: dht.ViewLeader) -> None:
    """`set` and `get` speak to one server, and never touch the replicated value."""
    with (
        dht.Server(leader.address) as server,
        dht.Client(leader.address, server.address) as client,
    ):
        client.set("own", [1, 2])
        assert client.get("own") == [1, 2]
        assert "own" in client.query_all_keys()
        with pytest.raises(KeyError):
            client.get("no such name")
        with pytest.raises(KeyError):
            client.getr("own")
        client.print("good", "morning")


def test_view_and_locks(leader: dht.ViewLeader) -> None:
    """The view leader's answers as Python values."""
    with dht.Client(leader.address) as client:
        view = client.query_servers()
        assert len(view) >= 3
        assert [place for _, place in view] == sorted(place for _, place in view)
        assert client.lock_get("L", "ann")
        assert not client.lock_get("L", "bob", wait=False)
        assert client.lock_release("L", "ann")
        assert client.lock_get("L", "bob")
        assert client.lock_release("L", "bob")
        assert not client.lock_release("L", "ann")


def test_errors_have_types() -> None:
    """Nobody there, no servers: the error says which, and is a `DhtError`."""
    with closed_port() as port, dht.Client(f"127.0.0.1:{port}", f"127.0.0.1:{port}") as client:
        with pytest.raises(dht.NoViewLeader):
            client.setr("a", 1)
        with pytest.raises(dht.NoViewLeader):
            client.getr("a")
        with pytest.raises(ConnectionError):
            client.query_servers()
        with pytest.raises(ConnectionError):
            client.get("a")
    with dht.ViewLeader() as leader, dht.Client(leader.address, timeout=1.0) as client:
        with pytest.raises(dht.NoServers):
            client.setr("a", 1)
        with pytest.raises(dht.NoServers):
            client.getr("a")
    for error in (dht.NoViewLeader, dht.NoServers, dht.Busy, dht.OutcomeUnknown):
        assert issubclass(error, dht.DhtError)


def test_too_large(leader: dht.ViewLeader) -> None:
    """What is over the client's limit is refused before anything happens."""
    with dht.Client(leader.address, message_bytes_max=1000) as client:
        client.setr("size", "small")
        with pytest.raises(dht.MessageTooLarge):
            client.setr("size", "x" * 2000)
        assert client.getr("size") == "small"


@pytest.mark.parametrize("party", [dht.Client, dht.AsyncClient, dht.ViewLeader, dht.Server])
@pytest.mark.parametrize("limit", [0, -1, 2**64])
def test_a_limit_that_no_message_keeps_is_refused(party: Callable[..., object], limit: int) -> None:
    """The error says what to give."""
    with pytest.raises(ValueError, match=f"message_bytes_max is {limit}; give a number of bytes"):
        party(message_bytes_max=limit)


def test_a_planned_leave() -> None:
    """A server that leaves gives its data to others first; the last one leaves at once."""
    with (
        dht.ViewLeader() as leader,
        dht.Server(leader.address) as first,
        dht.Client(leader.address) as client,
    ):
        names = [f"leave {number}" for number in range(50)]
        for name in names:
            client.setr(name, name)
        second = dht.Server(leader.address).start()
        first.leave(timeout=30)
        assert [addr for addr, _ in client.query_servers()] == [second.address]
        assert [client.getr(name) for name in names] == names
        with pytest.raises(RuntimeError, match="not running"):
            first.leave()
        second.leave(timeout=30)
        assert client.query_servers() == []


def test_a_leave_that_nobody_arranges() -> None:
    """Without a view leader nobody can say who takes over: the server stays."""
    with dht.ViewLeader() as leader, dht.Server(leader.address) as server:
        leader.stop()
        with pytest.raises(TimeoutError, match="wait longer, or stop"):
            server.leave(timeout=0.05)
        assert server.address


def test_a_taken_port() -> None:
    """Starting on a port that is taken is an `OSError`."""
    with dht.ViewLeader() as leader, pytest.raises(OSError, match=str(leader.port)):
        dht.Server(leader.address, port=leader.port).start()


def test_many_threads_share_a_client(leader: dht.ViewLeader) -> None:
    """A client may be used by several threads at once."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                client.setr(f"thread {number}", turn)
                assert client.getr(f"thread {number}") == turn
        except BaseException as error:
            failures.append(error)

    with dht.Client(leader.address) as client:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failures


def run_code(code: str, folder: Path) -> str:
    """Runs a program in another folder; fails unless it ends well and says nothing wrong."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=clean_env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_leaving_with_nodes_running(tmp_path: Path) -> None:
    """A program that ends while its nodes run ends quietly."""
    code = (
        "import dht\n"
        "leader = dht.ViewLeader().start()\n"
        "server = dht.Server(leader.address, heartbeat=0.05).start()\n"
        "client = dht.Client(leader.address)\n"
        "print('ends')\n"
    )
    assert run_code(code, tmp_path) == "ends\n"


def test_importing_starts_nothing(tmp_path: Path) -> None:
    """No thread comes with the import."""
    code = "import dht, threading; print(threading.active_count())"
    assert run_code(code, tmp_path) == "1\n"
