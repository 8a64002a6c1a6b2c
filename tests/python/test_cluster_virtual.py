"""A cluster in virtual time: the same again from a seed, no waiting, and faults of the network."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dht
from dht import _dht
from dht._recorded import RecordedTransport, Recorder
from dht._virtual import VirtualRing
from dht.cluster import BrokenRule, Cluster
from dht.testing import History
from test_library import run_code


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Four servers with the original's lease."""
    with Cluster(4, "virtual", seed=7) as cluster:
        yield cluster


def busy_run(seed: int) -> str:
    """What happens to a ring that is used and troubled; everything that can be seen of it."""
    with Cluster(5, "virtual", seed, lease=2.0) as cluster, cluster.client() as client:
        for number in range(10):
            client.setr(f"name {number}", number)
        cluster.partition(cluster.servers[0], [cluster.servers[1], cluster.viewleader])
        cluster.servers[2].kill()
        cluster.advance(5)
        cluster.heal()
        cluster.servers[2].restart()
        cluster.add_server()
        cluster.wait_settled()
        seen = [client.getr(f"name {number}") for number in range(10)]
        assert seen == list(range(10))
        return f"{cluster.trace()}{cluster.view}{cluster.monotonic()}{cluster.history().lines()}"


def test_a_seed_gives_the_same_again() -> None:
    """The trace and all that can be seen are the same; another seed differs."""
    first = busy_run(1)
    assert first == busy_run(1)
    assert first != busy_run(2)


def test_the_seed_decides_across_programs(tmp_path: Path) -> None:
    """Nothing of the process counts, such as the seed of its hashes."""
    code = (
        "import dht\n"
        "with dht.Cluster(3, 'virtual', seed=5) as cluster:\n"
        "    client = cluster.client()\n"
        "    client.setr('a', {'b': 1, 'c': 2})\n"
        "    cluster.advance(100)\n"
        "    print(cluster.trace())\n"
    )
    first = run_code(code, tmp_path)
    assert "client 1 begins Write" in first
    assert first == run_code(code, tmp_path)


def test_a_seed_is_drawn_where_none_is_given() -> None:
    """It can be read, and gives the same ring again."""
    with Cluster(3, "virtual") as drawn, Cluster(3, "virtual") as other:
        assert drawn.seed is not None
        assert drawn.seed != other.seed
        with Cluster(3, "virtual", drawn.seed) as again:
            assert again.view == drawn.view
            assert again.trace() == drawn.trace()
        assert f"seed={drawn.seed}" in repr(drawn)


def test_time_passes_only_where_something_waits(cluster: Cluster) -> None:
    """Looking takes none, a call some milliseconds, `advance` exactly what it says."""
    before = cluster.monotonic()
    assert cluster.view.epoch == 4
    assert cluster.where("a") == []
    assert cluster.monotonic() == before
    cluster.advance(12.5)
    assert cluster.monotonic() == pytest.approx(before + 12.5)
    cluster.client().setr("a", 1)
    assert 0.001 < cluster.monotonic() - before - 12.5 < 0.1
    began = time.monotonic()
    cluster.advance(100_000)
    assert time.monotonic() - began < 60


def test_a_lease_ends_in_virtual_time(cluster: Cluster) -> None:
    """30 s after the last heartbeat, not before."""
    paused = cluster.servers[0]
    paused.pause()
    cluster.advance(15)
    assert paused.address in dict(cluster.view.servers)
    cluster.advance(16)
    assert paused.address not in dict(cluster.view.servers)


def test_a_partition_stops_both_directions(cluster: Cluster) -> None:
    """Who cannot reach the view leader is missed when the lease ends; healed, it is back."""
    lonely = cluster.servers[0]
    cluster.partition(lonely, cluster.viewleader)
    cluster.advance(35)
    assert lonely.address not in dict(cluster.view.servers)
    with pytest.raises(TimeoutError, match=f"{lonely.address} is not in the view"):
        cluster.wait_settled(5)
    cluster.heal()
    cluster.wait_settled()
    assert lonely.address in dict(cluster.view.servers)


def test_what_is_not_answered_may_have_happened(cluster: Cluster) -> None:
    """A server that is silent may have taken the request; one that is not there has not."""
    server = cluster.servers[0]
    client = cluster.client(server, timeout=2.0)
    server.pause()
    with pytest.raises(dht.OutcomeUnknown, match="it may have happened"):
        client.set("a", 1)
    server.resume()
    assert client.get("a") == 1
    server.kill()
    with pytest.raises(dht.ServerUnreachable):
        client.set("a", 2)


def test_threads_that_wait_for_a_lock_let_no_time_pass(cluster: Cluster) -> None:
    """Waiting costs what the holders' work takes, however slow their threads are."""
    waiting = threading.Barrier(4, timeout=10)

    def count(client: dht.Client) -> None:
        waiting.wait()
        with client.lock("counter", timeout=1.0):
            seen = client.replicated.get("counter", 0)
            sum(range(300_000))  # to the others it must not matter how long this takes
            client.setr("counter", seen + 1)

    before = cluster.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, [cluster.client() for _ in range(4)]))
    assert cluster.client().getr("counter") == 4
    assert cluster.monotonic() - before < 0.5


def test_a_lock_that_nobody_gives_back(cluster: Cluster) -> None:
    """Time passes where its holder has ended, is this thread itself, or waits for this thread."""
    client = cluster.client()

    def late(lock: str, timeout: float) -> float:
        before = cluster.monotonic()
        with pytest.raises(TimeoutError, match="given back"):
            client.lock_get(lock, f"late for {lock}", timeout=timeout)
        return cluster.monotonic() - before

    ended = threading.Thread(target=client.lock_get, args=("one", "ended"))
    ended.start()
    ended.join(10)
    assert client.lock_get("two", "this thread")
    began = time.monotonic()
    assert late("one", 600) == pytest.approx(600, abs=1)
    assert late("two", 600) == pytest.approx(600, abs=1)
    assert time.monotonic() - began < 0.9
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(late, "two", 600).result(10) == pytest.approx(600, abs=1)


def test_threads_that_wait_for_each_other(cluster: Cluster) -> None:
    """Time passes, and their timeouts part them."""
    both = threading.Barrier(2, timeout=10)

    def cross(mine: str, other: str) -> str:
        client = cluster.client()
        with client.lock(mine):
            both.wait()
            try:
                with client.lock(other, timeout=5.0):
                    return "both"
            except TimeoutError:
                return "one"

    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        ends = sorted(pool.map(cross, ("a", "b"), ("b", "a")))
    assert ends == ["both", "one"]
    assert time.monotonic() - began < 0.9


def test_a_client_that_is_cut_off(cluster: Cluster) -> None:
    """It reaches nobody until the partition ends; other clients do not notice."""
    client, other = cluster.client(timeout=2.0), cluster.client()
    cluster.partition([client], [cluster.viewleader, *cluster.servers])
    began = cluster.monotonic()
    with pytest.raises(dht.NoViewLeader):
        client.setr("a", 1)
    assert 0.9 < cluster.monotonic() - began <= 2.0
    with pytest.raises(ConnectionError):
        client.query_servers()
    assert other.setr("a", 2) == 3
    cluster.heal()
    assert client.getr("a") == 2
    assert cluster.check_linearizable() == 3


def test_a_write_whose_answer_is_lost_is_in_doubt(cluster: Cluster) -> None:
    """With one direction cut it is done, and the client cannot know; the history says so."""
    client, other = cluster.client(), cluster.client()
    assert client.setr("a", 1) == 3
    cluster.partition(cluster.servers, client, one_way=True)
    with pytest.raises(dht.OutcomeUnknown):
        client.setr("a", 2)
    assert other.getr("a") == 2
    events = [json.loads(line) for line in cluster.history().lines()]
    assert [event["type"] for event in events] == ["invoke", "ok", "invoke", "info", "invoke", "ok"]
    assert events[3]["at"] - events[2]["at"] == pytest.approx(5_000_000, abs=1000)
    assert cluster.check_linearizable() == 3


def test_partitions_that_make_no_sense(cluster: Cluster) -> None:
    """Strangers, and whoever is on both sides."""
    server = cluster.servers[0]
    with pytest.raises(ValueError, match="server 1 cannot be cut off from itself"):
        cluster.partition(server, cluster.servers)
    with (
        Cluster(1, "virtual", seed=1) as other,
        pytest.raises(ValueError, match="none of this cluster's"),
    ):
        cluster.partition(server, other.client())


def test_errors_are_those_of_a_real_ring(cluster: Cluster) -> None:
    """Class by class."""
    client = cluster.client()
    with pytest.raises(KeyError):
        client.getr("nothing")
    with pytest.raises(KeyError):
        client.get("nothing")
    with pytest.raises(dht.MessageTooLarge):
        client.setr("large", "x" * 17_000_000)
    with pytest.raises(dht.MessageTooLarge):
        client.set("large", "x" * 17_000_000)
    cluster.viewleader.kill()
    fresh = cluster.client()
    with pytest.raises(dht.NoViewLeader):
        fresh.getr("a")
    with pytest.raises(ConnectionError, match=cluster.viewleader.address):
        fresh.query_servers()
    fresh.close()
    fresh.close()
    with pytest.raises(ValueError, match="closed"):
        fresh.getr("a")


@pytest.mark.parametrize("name", ["", "\ud800", "☃", 'quo"te'], ids=ascii)
def test_all_names_and_values(cluster: Cluster, name: str) -> None:
    """Whatever JSON can carry."""
    client = cluster.client()
    for value in (None, 10**40, 1.5, "\ud800", [name, {name: []}]):
        assert client.setr(name, value) == 3
        assert client.getr(name) == value
    assert cluster.where(name) == dht.Ring(cluster.view.servers).replicas(name)
    assert cluster.check_linearizable() == 10


def test_many_operations_overlap() -> None:
    """All at once they take about the time of one, and each has its own end in the history."""
    ring = VirtualRing(seed=3, lease=30.0, heartbeat=10.0, trace_lines=100)
    address = ring.start_leader(new=True)
    servers = [ring.start_server(f"server {number}") for number in range(3)]
    ring.sleep(1)
    recorder = Recorder(ring.monotonic)
    transport = RecordedTransport(ring.transport(servers[0], 5.0)[1], recorder)
    pairs = [(json.dumps(f"name {number}"), str(number)) for number in range(200)]
    assert transport.setr(*pairs[0])
    before = transport.monotonic()
    written = transport.setr_many(pairs)
    assert transport.monotonic() - before < 0.1
    assert all(isinstance(each, list) and len(each) == 3 for each in written)
    keys = [key for key, _ in pairs]
    assert transport.getr_many([*keys, '"none"']) == [*(value for _, value in pairs), None]
    assert transport.getr_many([]) == []
    assert recorder.history.check() == 1 + 200 + 201
    ring.kill("viewleader")
    for server in range(3):
        ring.kill(f"server {server}")
    ends = transport.setr_many(pairs[:3])
    assert {type(end) for end in ends} <= {dht.OutcomeUnknown, dht.NoViewLeader, dht.NotDone}
    assert ring.ask(servers[0], '{"cmd": "query_all_keys"}').startswith('{"error": "can\'t connect')
    before = transport.monotonic()
    transport.sleep(0.5)
    assert transport.monotonic() == pytest.approx(before + 0.5)
    assert address == transport.call_viewleader("{}").rpartition("to ")[2].rstrip('"}')


def test_the_history_tells_what_did_not_happen_from_what_may_have() -> None:
    """By the class of the error, whether one operation failed or many did."""

    class Failing:
        """Fails as it is told."""

        error: BaseException = dht.Busy()

        def setr(self, key: str, value: str) -> list[str]:
            raise self.error

        def setr_many(self, pairs: Any) -> list[Any]:
            return [self.error, ["a:1"]]

        def getr_many(self, keys: Any) -> list[Any]:
            raise self.error

    failing: Any = Failing()
    recorder = Recorder(time.monotonic)
    transport = RecordedTransport(failing, recorder)
    ends = {dht.Busy(): "fail", dht.OutcomeUnknown(): "info", KeyboardInterrupt(): "info"}
    for error, end in ends.items():
        failing.error = error
        with pytest.raises(type(error)):
            transport.setr('"a"', "1")
        assert ended(recorder.history) == end
        transport.setr_many([('"a"', "1"), ('"b"', "2")])
        assert [json.loads(line)["type"] for line in recorder.history.lines()[-2:]] == [end, "ok"]
        with pytest.raises(type(error)):
            transport.getr_many(['"a"'])
        assert ended(recorder.history) == "fail"
    recorder.history.check()


def ended(history: History) -> str:
    """How the last operation ended."""
    end: str = json.loads(history.lines()[-1])["type"]
    return end


def test_traces_can_be_left_out() -> None:
    """Without them, and only with the last lines."""
    with Cluster(3, "virtual", seed=1, trace_lines=0) as cluster:
        cluster.advance(100)
        assert cluster.trace() == ""
    with Cluster(3, "virtual", seed=1, trace_lines=5) as cluster:
        cluster.advance(100)
        lines = cluster.trace().splitlines()
        assert len(lines) == 5
        assert all(re.match(r" *\d+ (server \d|viewleader|--)", line) for line in lines)


def test_a_broken_rule_is_an_assertion_that_shows_the_trace() -> None:
    """Two servers of one identity are none of a ring; the cluster stays broken."""
    sim = _dht.SimCluster(1, check_rules=True)
    sim.start_leader(0)
    sim.start_server("one", 1)
    for use in (lambda: sim.start_server("two", 1), lambda: sim.advance(1)):
        with pytest.raises(BrokenRule, match=r"(?s)broke a rule at \d+ ms: .*trace:\n.*two"):
            use()
    assert issubclass(BrokenRule, AssertionError)
    assert "two" in sim.trace()
    assert sim.view()


def test_a_sound_ring_breaks_no_rule() -> None:
    """Judged or not, the same happens."""
    traces = set()
    for check_rules in (False, True):
        with Cluster(4, "virtual", 3, lease=2.0, check_rules=check_rules) as cluster:
            client = cluster.client()
            for number in range(20):
                client.setr(f"name {number}", number)
            cluster.servers[0].restart()
            cluster.servers[1].pause()
            cluster.advance(3)
            cluster.servers[1].resume()
            cluster.wait_settled()
            traces.add(cluster.trace())
    assert len(traces) == 1


def test_what_is_broken_can_be_closed(capfd: pytest.CaptureFixture[str]) -> None:
    """The error is told once, not again by each `with` that ends."""
    with Cluster(2, "virtual", seed=1) as cluster, cluster.client() as client:
        ring: Any = cluster._ring
        with pytest.raises(RuntimeError, match="make another"):
            ring.kill("nobody")
        with pytest.raises(RuntimeError, match="make another"):
            client.getr("a")
    capfd.readouterr()


def test_a_simulator_that_fails_says_so_from_then_on(capfd: pytest.CaptureFixture[str]) -> None:
    """No hang, and no half-done state."""
    sim = _dht.SimCluster(1)
    for use in (lambda: sim.kill("nobody"), lambda: sim.advance(1), sim.trace):
        with pytest.raises(RuntimeError, match="make another: there is no node nobody"):
            use()
    capfd.readouterr()


def test_a_signal_handler_may_not_enter(tmp_path: Path) -> None:
    """It would wait for itself for ever; it is told instead, and the call it interrupts goes on."""
    code = (
        "import dht, os, signal, threading\n"
        "with dht.Cluster(3, 'virtual', seed=1) as cluster:\n"
        "    def handle(*_):\n"
        "        try:\n"
        "            cluster.trace()\n"
        "        except RuntimeError as error:\n"
        "            print(str(error)[:16])\n"
        "            raise SystemExit(0) from None\n"
        "    signal.signal(signal.SIGUSR1, handle)\n"
        "    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()\n"
        "    cluster.advance(10**9)\n"
    )
    assert run_code(code, tmp_path) == "a signal handler\n"


def test_importing_dht_does_not_import_the_cluster(tmp_path: Path) -> None:
    """What few programs need is loaded when it is asked for."""
    code = (
        "import dht, sys\n"
        "assert 'dht.cluster' not in sys.modules\n"
        "assert 'dht.node' not in sys.modules\n"
        "assert 'Cluster' in dht.__all__\n"
        "print(dht.Cluster.__module__)\n"
    )
    assert run_code(code, tmp_path) == "dht.cluster\n"
    with pytest.raises(AttributeError, match="no attribute 'Clutser'"):
        getattr(dht, "Clut" + "ser")
