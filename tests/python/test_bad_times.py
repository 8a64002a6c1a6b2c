"""Programs that come too early, too late, too often, or all at once."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import pytest

from conftest import StartProgram
from dht import common2
from harness import Program, answers, closed_port, run, script, wait_until
from rawwire import ask
from rings import Ring, store, unreadable

PAIRS = {f"key{number}": [number, "value"] for number in range(30)}


def leader_on(port: int, start: StartProgram) -> Program | None:
    """A view leader on this port; `None` where something else has the port at the moment."""
    leader = start(script("viewleader.py", "--port", str(port)))
    wait_until(lambda: answers(port, "query_servers") or not leader.alive())
    return leader if leader.alive() else None


def test_a_server_without_a_view_leader(start: StartProgram) -> None:
    """It says so on one line, serves what it can, and joins as soon as there is one."""
    with closed_port() as port:
        options = ("--viewleader", f"127.0.0.1:{port}", "--heartbeat", "0.2")
        server = start(script("server.py", "--port", "0", *options))
        server.wait_line("Can't update lease: ")
        assert ask(server.port, {"cmd": "set", "key": "a", "val": 1}) == {"status": "ok"}
        assert ask(server.port, {"cmd": "get", "key": "a"}) == {"status": "ok", "value": 1}
        vote = ask(server.port, {"cmd": "setr_request", "key": "a"})
        assert "error" in vote or vote["reply"] == "no" or vote["epoch"] == 0
    leader = wait_until(lambda: leader_on(port, start), what="a view leader on the port")
    wait_until(lambda: len(ask(port, {"cmd": "query_servers"})["result"]) == 1)
    assert ask(server.port, {"cmd": "get", "key": "a"}) == {"status": "ok", "value": 1}
    assert leader and leader.alive()


@pytest.mark.parametrize("command", [["setr", "a", "1"], ["getr", "a"]], ids=["setr", "getr"])
def test_replicated_commands_with_nobody_there(
    command: list[str], make_ring: Callable[..., Ring]
) -> None:
    """No view leader, or no servers: one clear line and status 1."""
    with closed_port() as port:
        done = run(script("client.py", "--viewleader", f"127.0.0.1:{port}", *command))
    said = [line for line in (done.stdout + done.stderr).splitlines() if "Trying to" not in line]
    assert (len(said), done.returncode) == (1, 1), said
    assert "view leader" in said[0] or "can't connect" in said[0]
    stdout, status = make_ring(0).client(*command)
    said = [line for line in stdout.splitlines() if "Trying to" not in line]
    assert (len(said), status) == (1, 1), said
    assert "server" in said[0]


def test_the_whole_ring_is_killed(make_ring: Callable[..., Ring]) -> None:
    """New servers under the same view leader form a working ring at once; the loss is said loudly.

    Leases of 30 s show that nobody waits for them to run out.
    """
    ring = make_ring(3, leader_options=())
    client = ring.connect()
    store(client, PAIRS)
    ring.wait_placed(PAIRS)
    for server in list(ring.servers):
        ring.kill(server)
    began = time.monotonic()
    ring.add(3)
    wait_until(lambda: ring.client("setr", "a", "1")[1] == 0, what="a working ring")
    assert time.monotonic() - began < 10
    assert ring.client("getr", "a") == ("{'status': 'ok', 'value': '1'}\n", 0)
    loud = [line for line in [*ring.leader.lines, *ring.leader.errors] if "lost" in line.lower()]
    assert loud and "10000" in loud[0], (ring.leader.lines, ring.leader.errors)
    assert client.getr('"key0"') is None
    fresh = {f"new {number}": number for number in range(30)}
    store(client, fresh)
    assert not unreadable(client, fresh)
    ring.wait_placed([*fresh, "a"])


def test_a_second_server_with_the_same_address(make_ring: Callable[..., Ring]) -> None:
    """It is told to wait and says so on one line; the first goes on undisturbed."""
    ring = make_ring(2)
    client = ring.connect()
    store(client, PAIRS)
    view, epoch = ring.view(), ring.epoch()
    rival = ring.begin("--advertise", ring.servers[0].address)
    ring.servers.remove(rival)
    rival.wait_line("Can't renew lease: retry")
    assert (ring.view(), ring.epoch()) == (view, epoch)
    assert not unreadable(client, PAIRS)
    assert rival.alive()


def has_changed(ring: Ring, epoch: int) -> bool:
    """Whether all three servers are in a view that is newer than `epoch`."""
    return ring.epoch() > epoch and len(ring.view()) == 3


def test_a_server_restarted_at_its_old_address(make_ring: Callable[..., Ring]) -> None:
    """It takes its own place at once: nobody waits for the lease of the one that died."""
    ring = make_ring(3, leader_options=())
    client = ring.connect()
    store(client, PAIRS)
    ring.wait_placed(PAIRS)
    for server in list(ring.servers):
        epoch = ring.epoch()
        ring.kill(server)
        ring.begin("--port", server.address.rpartition(":")[2])
        wait_until(partial(has_changed, ring, epoch), what="the new server in the view")
        ring.wait_placed(PAIRS)
        assert not unreadable(client, PAIRS)


def test_an_expired_server_comes_back(make_ring: Callable[..., Ring]) -> None:
    """A server that was stopped for longer than its lease is denied, and joins again."""
    ring = make_ring(3)
    client = ring.connect()
    store(client, PAIRS)
    slow = ring.replicas("key0")[0]
    with slow.paused():
        wait_until(lambda: len(ring.view()) == 2, what="the lease to run out")
        assert not unreadable(client, PAIRS)
    ring.wait_placed(PAIRS)
    assert slow.saw("Can't renew lease: deny")
    assert not unreadable(client, PAIRS)


@contextmanager
def taken(ports: range) -> Iterator[None]:
    """All ports of a range taken: by us, by whoever listens there, or by a connection that lasts.

    Connections of other programs get their ports by chance, and may end at any time.
    """
    with ExitStack() as stack:
        for port in ports:
            take(stack, port)
        yield


def take(stack: ExitStack, port: int) -> None:
    """Listens on a port, as the programs do, unless somebody has it."""
    with ExitStack() as attempt:
        sock = attempt.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            sock.bind(("", port))
            sock.listen()
            stack.push(attempt.pop_all())


@pytest.mark.parametrize(
    ("name", "ports"),
    [
        ("server.py", range(common2.SERVER_LOW, common2.SERVER_HIGH)),
        ("viewleader.py", range(common2.VIEWLEADER_LOW, common2.VIEWLEADER_HIGH)),
    ],
)
def test_a_port_range_that_is_fully_taken(name: str, ports: range) -> None:
    """Each port is tried in order, then one line says what is wrong, and the program ends."""

    def given_up() -> subprocess.CompletedProcess[str] | None:
        with taken(ports):
            try:
                return run(script(name), seconds=5.0)
            except subprocess.TimeoutExpired:
                return None  # it found a port, as a connection has ended: once more

    done = wait_until(given_up, deadline=60.0, what="a range without a free port")
    assert done
    trying = [f"Trying to listen on {port}..." for port in ports]
    assert done.stdout.splitlines() == [*trying, "Can't listen on any port, giving up"]
    assert (done.stderr, done.returncode) == ("", 1)


def test_the_first_free_port_of_the_range(start: StartProgram) -> None:
    """Taken ports are passed over; the one that is left is used."""
    ports = range(common2.VIEWLEADER_LOW, common2.VIEWLEADER_HIGH)
    with taken(ports[:1]):
        leader = start(script("viewleader.py"))
        leader.wait_line(f"Trying to listen on {ports[1]}...")
        wait_until(lambda: answers(leader.port, "query_servers"), what="the view leader")
    tried = [line for line in leader.lines if line.startswith("Trying")]
    assert tried == [f"Trying to listen on {port}..." for port in ports[: len(tried)]]


def interrupted(program: Program) -> None:
    """Fails unless Ctrl-C ends the program within 2 s, silently, with status 130."""
    began = time.monotonic()
    status = program.interrupt()
    assert time.monotonic() - began < 2.0
    assert status == 130
    assert not program.saw("Traceback")
    assert not program.saw("KeyboardInterrupt")


def test_ctrl_c_on_the_nodes(make_ring: Callable[..., Ring]) -> None:
    """Servers in a ring, and their view leader."""
    ring = make_ring(2)
    store(ring.connect(), PAIRS)
    interrupted(ring.servers.pop())
    interrupted(ring.servers.pop())
    interrupted(ring.leader)


def test_ctrl_c_on_a_server_that_waits_for_its_view_leader(start: StartProgram) -> None:
    """A view leader that accepts and never answers holds nobody."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        server = start(script("server.py", "--port", "0", "--viewleader", address))
        wait_until(lambda: answers(server.port, "query_all_keys"), what="the server")
        interrupted(server)


@pytest.mark.parametrize("command", ["get a", "query_servers", "setr a 1", "getr a"])
def test_ctrl_c_on_a_client_that_waits_for_a_reply(command: str, start: StartProgram) -> None:
    """A peer that accepts and never answers holds no client."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        hosts = ("--server", address, "--viewleader", address)
        client = start(script("client.py", *hosts, *command.split()))
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(20)
            assert connection.recv(4)
            interrupted(client)


def test_ctrl_c_on_a_client_that_waits_for_a_lock(
    make_ring: Callable[..., Ring], start: StartProgram
) -> None:
    """Waiting between two requests ends at once as well."""
    ring = make_ring(0)
    lock = {"cmd": "lock_get", "lockid": "L", "requestor": "ann"}
    assert ask(ring.leader.port, lock) == {"status": "granted"}
    client = start(script("client.py", *ring.hosts(), "lock_get", "L", "bob"))
    client.wait_line("Waiting on lock L...")
    interrupted(client)
