"""`dht.Cluster`: what holds whichever clock it has, and what is particular to the real one."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import dht
import dht._members
import dht.cluster
from dht.cluster import Cluster
from harness import wait_until
from rawwire import Connection
from test_library import run_code

NAMES = [f"name {number}" for number in range(20)]
CLOCKS: list[Literal["real", "virtual"]] = ["real", "virtual"]
Clock = Literal["real", "virtual"]


def seeded(clock: Clock) -> dict[str, Any]:
    """The options of a cluster with this clock."""
    return {"clock": clock, "seed": 1} if clock == "virtual" else {"clock": clock}


@pytest.fixture(params=CLOCKS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Five servers of each kind, with a lease of two seconds."""
    with Cluster(5, lease=2.0, **seeded(request.param)) as cluster:
        yield cluster


def fill(client: dht.Client) -> None:
    """Stores every name."""
    for name in NAMES:
        assert client.setr(name, name) == 3


def check(cluster: Cluster, client: dht.Client) -> None:
    """Every name has its value, on the three servers that the ring wants."""
    view = list(cluster.view.servers)
    for name in NAMES:
        assert client.getr(name) == name
        assert cluster.where(name) == dht.Ring(view).replicas(name)


def test_it_starts_settled(cluster: Cluster) -> None:
    """All servers are in the view at once, and every name has its servers."""
    assert {server.address for server in cluster.servers} == set(dict(cluster.view.servers))
    assert cluster.view.epoch == 5
    with cluster.client() as client:
        fill(client)
        check(cluster, client)
        for server in cluster.servers:
            held = [name for name in NAMES if server.address in cluster.where(name)]
            assert server.keys() == sorted(held)


def test_two_deaths_and_a_join(cluster: Cluster) -> None:
    """Nothing is lost, and every name is on three servers again, then on those of a larger ring."""
    client = cluster.client()
    fill(client)
    for server in cluster.servers[:2]:
        server.kill()
        assert server.state == "killed"
        with pytest.raises(
            RuntimeError, match=r"server \d .* was killed; this needs one that runs"
        ):
            server.keys()
    assert [client.getr(name) for name in NAMES] == NAMES
    cluster.wait_settled()
    assert len(cluster.view.servers) == 3
    check(cluster, client)
    added = cluster.add_server()
    cluster.wait_settled()
    assert added.address in dict(cluster.view.servers)
    check(cluster, client)
    assert cluster.check_linearizable() == len(cluster.history().lines()) // 2 > 60


def test_restart(cluster: Cluster) -> None:
    """A restarted server has its old address and another place; the ring fills it again."""
    client = cluster.client()
    fill(client)
    server = cluster.servers[0]
    address, before = server.address, dict(cluster.view.servers)
    server.restart()
    cluster.wait_settled()
    assert (server.address, server.state) == (address, "running")
    after = dict(cluster.view.servers)
    assert set(after) == set(before)
    assert after[address] != before[address]
    check(cluster, client)
    server.kill()
    server.restart()
    cluster.wait_settled()
    check(cluster, client)


def test_restart_of_the_view_leader(cluster: Cluster) -> None:
    """It learns the ring from its servers; meanwhile it is nobody's."""
    client = cluster.client()
    fill(client)
    view = cluster.view.servers
    cluster.viewleader.kill()
    with pytest.raises(dht.NoViewLeader, match="killed"):
        assert cluster.view
    with pytest.raises(TimeoutError, match="view leader does not answer"):
        cluster.wait_settled(0.1)
    assert client.getr(NAMES[0]) == NAMES[0]
    cluster.viewleader.restart()
    cluster.wait_settled()
    assert cluster.view.servers == view
    check(cluster, client)


def test_pause_and_resume(cluster: Cluster) -> None:
    """A server that stands still is missed when its lease ends, and comes back when it goes on."""
    client = cluster.client()
    fill(client)
    paused = cluster.servers[0]
    paused.pause()
    assert paused.state == "paused"
    assert all(paused.address not in cluster.where(name) for name in NAMES)
    cluster.advance(2.5)
    assert paused.address not in dict(cluster.view.servers)
    assert [client.getr(name) for name in NAMES] == NAMES
    paused.resume()
    cluster.wait_settled()
    assert paused.address in dict(cluster.view.servers)
    check(cluster, client)
    cluster.check_linearizable()


def test_leave(cluster: Cluster) -> None:
    """A server that leaves hands its data over first, and may come again."""
    client = cluster.client()
    fill(client)
    server = cluster.servers[0]
    server.leave()
    assert server.state == "left"
    assert server.address not in dict(cluster.view.servers)
    cluster.wait_settled()
    check(cluster, client)
    server.restart()
    cluster.wait_settled()
    check(cluster, client)


def test_a_leave_that_nobody_arranges(cluster: Cluster) -> None:
    """Without a view leader nobody can say who takes over: the server stays."""
    cluster.viewleader.kill()
    with pytest.raises(TimeoutError, match="wait longer, or kill"):
        cluster.servers[0].leave(timeout=0.1)
    leaver = cluster.servers[0]
    assert leaver.state == "running"
    cluster.viewleader.restart()

    def left() -> bool:
        cluster.advance(0.05)
        return leaver.state == "left"

    wait_until(left, what="it goes on leaving")
    with pytest.raises(RuntimeError, match="has left; this needs one that runs or is paused"):
        leaver.kill()
    leaver.restart()
    cluster.wait_settled()


def test_what_is_not_settled_is_told(cluster: Cluster) -> None:
    """By address, and with what has become of it."""
    for server in cluster.servers:  # nothing that they hold gets on its way
        server.pause()
    added = cluster.add_server()
    late = "values are still on their way"  # where it has joined already
    with pytest.raises(TimeoutError, match=rf"after 0 s: ({added.address} is not in the|{late})"):
        cluster.wait_settled(0)
    for server in cluster.servers[:-1]:
        server.resume()
    cluster.wait_settled()
    cluster.viewleader.pause()
    with pytest.raises(TimeoutError, match=r"the view leader does not answer \(paused\)"):
        cluster.wait_settled(0)
    cluster.viewleader.resume()
    cluster.wait_settled()


def test_clients_ask_the_server_that_they_are_given(cluster: Cluster) -> None:
    """A handle, an address, or the first that runs."""
    first, second, third = cluster.servers[:3]
    cluster.client(second).set("of", "second")
    cluster.client(third.address).set("of", "third")
    cluster.client().set("of", "first")
    first.kill()
    cluster.client().set("next", "second")
    assert second.keys() == ["next", "of"]
    assert cluster.client(third).get("of") == "third"
    with pytest.raises(ConnectionError, match=first.address):
        cluster.client(first, timeout=0.5).get("of")


def test_locks_and_the_view(cluster: Cluster) -> None:
    """The view leader's commands work as on any ring."""
    client = cluster.client()
    assert tuple(client.query_servers()) == cluster.view.servers
    assert client.lock_get("L", "ann")
    assert not client.lock_get("L", "bob", wait=False)
    assert client.lock_release("L", "ann")


def test_misuse_is_told(cluster: Cluster) -> None:
    """Every call that cannot do what it says is an error."""
    server = cluster.servers[0]
    with pytest.raises(RuntimeError, match="runs; this needs one that is paused"):
        server.resume()
    server.pause()
    with pytest.raises(RuntimeError, match="is paused; this needs one that runs"):
        server.pause()
    with pytest.raises(RuntimeError, match="is paused; this needs one that runs"):
        server.keys()
    server.kill()
    with pytest.raises(RuntimeError, match="was killed; this needs one that runs or is paused"):
        server.kill()
    with pytest.raises(ValueError, match="0 or more"):
        cluster.advance(-1)
    with pytest.raises(ValueError, match="above 0"):
        cluster.client(timeout=0)
    with pytest.raises(RuntimeError, match="once; make another"):
        cluster.start()


@pytest.mark.parametrize("clock", CLOCKS)
def test_before_and_after(clock: Clock) -> None:
    """Nothing works before the start, and little after the end."""
    cluster = Cluster(1, **seeded(clock))
    with pytest.raises(RuntimeError, match="not running; use `with`"):
        cluster.client()
    cluster.stop()
    with cluster:
        client = cluster.client()
        client.setr("a", 1)
    for use in (cluster.add_server, cluster.client, cluster.wait_settled, lambda: cluster.view):
        with pytest.raises(RuntimeError, match="not running; make another"):
            use()
    with pytest.raises(ValueError, match="closed"):
        client.getr("a")
    assert cluster.check_linearizable() == 2
    cluster.stop()
    server, leader = cluster.servers[0], cluster.viewleader
    for act in (server.kill, server.leave, server.restart, leader.pause, leader.restart):
        with pytest.raises(RuntimeError, match="is not running; make another"):
            act()


def test_options_that_are_no_numbers() -> None:
    """The error is a sentence; an empty directory would be the root of all."""
    with pytest.raises(TypeError, match="servers is a whole number, 0 or more, not '3'"):
        Cluster("3")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="lease is a number of seconds above 0, not None"):
        Cluster(lease=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="data_dir is the name of a directory"):
        Cluster(data_dir="")


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_ring_without_servers(clock: Clock) -> None:
    """It can be, and says so to whoever writes."""
    with Cluster(0, **seeded(clock)) as cluster, cluster.client() as client:
        assert cluster.view == (0, ())
        assert cluster.servers == ()
        with pytest.raises(dht.NoServers):
            client.setr("a", 1)
        outcomes = [json.loads(line)["type"] for line in cluster.history().lines()]
        assert outcomes == ["invoke", "fail"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"servers": -1}, "servers is 0 or more"),
        ({"clock": "wall"}, 'clock is "real" or "virtual"'),
        ({"lease": 0}, "lease"),
        ({"lease": float("nan")}, "lease"),
        ({"seed": 1}, 'seed needs clock="virtual"'),
        ({"trace_lines": 5}, 'trace_lines needs clock="virtual"'),
        ({"check_rules": True}, 'check_rules needs clock="virtual"'),
        ({"clock": "virtual", "seed": -1}, "seed is from 0"),
        ({"clock": "virtual", "seed": 2**64}, "seed is from 0"),
        ({"clock": "virtual", "trace_lines": -1}, "trace_lines is 0 or more"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options: dict[str, Any], why: str) -> None:
    """Each says what it may be."""
    with pytest.raises(ValueError, match=why):
        Cluster(**options)


def test_what_only_virtual_time_has() -> None:
    """The error names the option that helps."""
    with Cluster(1) as cluster:
        for use in (
            lambda: cluster.partition(cluster.servers[0], cluster.viewleader),
            cluster.heal,
            cluster.trace,
        ):
            with pytest.raises(RuntimeError, match='needs clock="virtual"'):
                use()
        assert cluster.seed is None


def test_a_paused_server_stands_still_and_loses_nothing() -> None:
    """Connections are taken, nothing is answered; what was sent is answered once it goes on."""
    with Cluster(1) as cluster:
        server = cluster.servers[0]
        port = int(server.address.rpartition(":")[2])
        server.pause()
        with Connection(port) as connection:
            connection.send_text('{"cmd": "query_all_keys"}')
            with pytest.raises(TimeoutError):
                connection.read_text(0.3)
            server.resume()
            assert json.loads(connection.read_text()) == {"result": []}


def test_a_paused_server_that_is_killed_takes_no_further_step() -> None:
    """What waited for it is not done."""
    with Cluster(1) as cluster:
        server = cluster.servers[0]
        port = int(server.address.rpartition(":")[2])
        server.pause()
        with Connection(port) as connection:
            connection.send_text('{"cmd": "query_all_keys"}')
            server.kill()
            assert connection.is_closed()


def test_kill_frees_the_port() -> None:
    """Nobody listens there any more."""
    with Cluster(2) as cluster:
        host, _, port = cluster.servers[0].address.partition(":")
        cluster.servers[0].kill()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), 5)


@pytest.mark.parametrize("clock", CLOCKS)
def test_many_threads(clock: Clock) -> None:
    """Threads share a cluster and its clients while another keeps the interpreter busy."""
    failures: list[BaseException] = []
    busy = threading.Event()

    def hog() -> None:
        while not busy.is_set():
            sum(range(1000))

    def work(number: int) -> None:
        try:
            for turn in range(10):
                shared.setr(f"thread {number}", turn)
                assert shared.getr(f"thread {number}") == turn
                with cluster.client() as own:
                    assert own.getr(f"thread {number}") == turn
        except BaseException as error:
            failures.append(error)

    with Cluster(3, **seeded(clock)) as cluster, cluster.client() as shared:
        hogs = threading.Thread(target=hog)
        hogs.start()
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        busy.set()
        hogs.join(60)
        assert not failures
        assert cluster.check_linearizable() == 6 * 10 * 3


@pytest.mark.parametrize("clock", CLOCKS)
def test_leaving_with_a_cluster_running(clock: Clock, tmp_path: Path) -> None:
    """A program that ends meanwhile ends quietly, even while a thread waits in the cluster."""
    code = (
        "import dht, threading\n"
        f"cluster = dht.Cluster(3, {clock!r}).start()\n"
        "client = cluster.client()\n"
        "client.setr('a', 1)\n"
        "threading.Thread(target=cluster.advance, args=(10**9,), daemon=True).start()\n"
        "print('ends')\n"
    )
    assert run_code(code, tmp_path) == "ends\n"


@pytest.mark.parametrize("clock", CLOCKS)
def test_ctrl_c_ends_a_wait(clock: Clock, tmp_path: Path) -> None:
    """Within 0.1 s, however much time shall pass; the cluster goes on afterwards."""
    code = (
        "import dht, os, signal, threading, time\n"
        f"with dht.Cluster(3, {clock!r}) as cluster:\n"
        "    def took():\n"
        "        sent = []\n"
        "        def interrupt():\n"
        "            sent.append(time.monotonic())\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        threading.Timer(0.2, interrupt).start()\n"
        "        try:\n"
        "            cluster.advance(10**9)\n"
        "        except KeyboardInterrupt:\n"
        "            return time.monotonic() - sent[0]\n"
        "    print(min(took() for _ in range(3)))\n"
        "    assert cluster.client().setr('a', 1) == 3\n"
    )
    # The best of three, as the machine may be slow.
    assert float(run_code(code, tmp_path)) < 0.1


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_forked_child_is_told(clock: Clock, tmp_path: Path) -> None:
    """Using the parent's cluster is an error there, and not a hang; the parent goes on."""
    code = (
        "import dht, os\n"
        f"with dht.Cluster(3, {clock!r}) as cluster:\n"
        "    client = cluster.client()\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        status = 1\n"
        "        try:\n"
        "            client.setr('a', 1)\n"
        "        except RuntimeError as error:\n"
        "            status = 0 if 'forked child' in str(error) else 2\n"
        "        finally:\n"
        "            os._exit(status)\n"
        "    print(os.waitpid(child, 0)[1], client.setr('a', 2))\n"
    )
    assert run_code(code, tmp_path) == "0 3\n"


def test_a_real_ring_serves_whoever_knows_its_address() -> None:
    """Its nodes listen on this machine as any others do; only its own clients are recorded."""
    with Cluster(3) as cluster, dht.Client(cluster.viewleader.address) as stranger:
        assert stranger.setr("a", 1) == 3
        assert cluster.client().getr("a") == 1
        assert len(cluster.history().lines()) == 2
