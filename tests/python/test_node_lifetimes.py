"""Nodes inside a program: Ctrl-C, forks, many threads, and the program's end."""

from __future__ import annotations

import sys
import threading
import time

import pytest

import dht
from harness import closed_port, run, wait_until

# A child interrupts itself once it waits, and measures how long the wait then takes to end: what
# the machine does between the two processes does not count.
INTERRUPTED = """
import os, signal, sys, threading, time
import dht
LEADER = {leader!r}

def measured(wait):
    sent = []
    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(0.2, send)
    timer.start()
    try:
        wait()
        print("was not interrupted")
    except KeyboardInterrupt:
        print(f"{{(time.monotonic() - sent[0]) * 1000:.1f}}")
    timer.join()

def events():
    with dht.ViewLeader() as leader:
        next(leader.events())

def events_with_timeout():
    with dht.ViewLeader() as leader:
        next(leader.events(timeout=30))

def start():
    dht.Server(LEADER, join_timeout=30).start()

def leave():
    with dht.ViewLeader() as leader, dht.Server(leader.address) as server:
        leader.stop()
        server.leave(timeout=30)

measured({wait})
"""


def program(code: str) -> str:
    """Runs a program that must end well and quietly; returns what it printed."""
    done = run([sys.executable, "-c", code])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("wait", ["events", "events_with_timeout", "start", "leave"])
def test_ctrl_c_ends_a_wait(wait: str) -> None:
    """Within 0.1 s; the best of three, as the machine may be busy."""
    with closed_port() as port:
        code = INTERRUPTED.format(leader=f"127.0.0.1:{port}", wait=wait)
        took_ms = []
        for _ in range(3):
            took_ms.append(float(program(code)))
            if took_ms[-1] <= 100:
                return
    raise AssertionError(f"{wait} took {took_ms} ms")


FORKED = """
import os, sys, warnings
import dht
warnings.simplefilter("ignore")  # newer interpreters warn of every fork with threads
with dht.ViewLeader() as leader, dht.Server(leader.address) as server:
    events = leader.events()
    pid = os.fork()
    if pid == 0:
        for call in (
            leader.start, leader.stop, server.start, server.stop, server.leave,
            leader.events, server.events, lambda: next(events), events.pending, events.close,
        ):
            try:
                call()
                print("no error from", call)
            except RuntimeError as error:
                assert "forked child" in str(error), error
        with dht.ViewLeader() as own, own.events(timeout=20) as mine:
            with dht.Server(own.address):
                assert next(mine).kind == "joined"
        print("child ends", flush=True)
        sys.exit(7)
    print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print("parent has", len(leader.statistics().ring))
"""


def test_after_a_fork() -> None:
    """The parent's nodes say so in the child, which may leave `with`, and may have its own."""
    assert program(FORKED) == "child ends\nstatus 7\nparent has 1\n"


CLUSTER_FORKED = """
import os, sys, warnings
import dht

warnings.simplefilter("ignore")  # newer interpreters warn of every fork with threads
with dht.Cluster({options}) as cluster:
    client = cluster.client()
    client.setr("apple", 1)
    pid = os.fork()
    if pid == 0:
        for call in (
            lambda: cluster.view, lambda: cluster.where("apple"), cluster.wait_settled,
            cluster.add_server, cluster.client, cluster.stop, lambda: cluster.advance(1),
        ):
            try:
                call()
                print("no error from", call)
            except RuntimeError as error:
                assert "this Cluster runs in the parent process" in str(error), error
    else:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert client.getr("apple") == 1
        cluster.add_server()
        cluster.wait_settled()
print("child" if pid == 0 else "parent", flush=True)
"""


@pytest.mark.parametrize("options", ["3", "3, clock='virtual', seed=1"])
def test_a_cluster_after_a_fork(options: str) -> None:
    """The child is told that the cluster is the parent's, and may leave `with`."""
    assert program(CLUSTER_FORKED.format(options=options)) == "child\nparent\n"


OPEN_AT_THE_END = {
    "an iterator on a daemon thread": """
        threading.Thread(target=lambda: list(leader.events()), daemon=True).start()
    """,
    "iterators that start again": """
        def follow():
            while True:
                for event in leader.events():
                    pass
        for _ in range(4):
            threading.Thread(target=quietly, args=(follow,), daemon=True).start()
    """,
    "an iterator that nobody reads": "events = leader.events()",
    "a wait for a leave": """
        threading.Thread(target=quietly, args=(server.leave,), daemon=True).start()
    """,
    "clients on daemon threads": """
        client = dht.Client(leader.address)
        other = dht.AsyncClient(leader.address)
        client.lock_get("L", "ann")
        async def views():
            while True:
                await other.query_servers()
        def again(call):
            while True:
                call()
        calls = [
            client.status, client.query_servers, server.statistics, lambda: len(client.replicated),
            lambda: client.setr("a", 1), lambda: client.getr_many(["a", "b"]),
            lambda: asyncio.run(views()), lambda: client.lock_get("M", "bob"),
            lambda: client.lock_release("M", "bob"),
        ]
        for call in calls:
            threading.Thread(target=again, args=(call,), daemon=True).start()
        for number in range(20):
            waits = (client.lock_get, ("L", str(number)))
            threading.Thread(target=waits[0], args=waits[1], daemon=True).start()
        threading.Event().wait(0.2)
    """,
    "addresses on daemon threads": """
        def again():
            while True:
                server.address
        for _ in range(2):
            threading.Thread(target=again, daemon=True).start()
    """,
    "a log": """
        import logging
        log = logging.getLogger("dht")
        log.setLevel(logging.INFO)
        log.addHandler(logging.FileHandler(os.devnull))
        logged = dht.ViewLeader().start()
        more = [dht.Server(logged.address, heartbeat=0.01).start() for _ in range(3)]
    """,
    "a log that is stuck": """
        import logging
        class Stuck(logging.Handler):
            def createLock(self):
                self.lock = None  # for which the end of logging would wait
            def emit(self, record):
                threading.Event().wait()
        logging.getLogger("dht").setLevel(logging.INFO)
        logging.getLogger("dht").addHandler(Stuck())
        logged = dht.ViewLeader().start()
        more = dht.Server(logged.address).start()
    """,
}


@pytest.mark.parametrize("what", OPEN_AT_THE_END)
def test_leaving_the_interpreter(what: str) -> None:
    """With nodes running, and more: it ends well, and prints nothing of it."""
    lines = [line.removeprefix("        ") for line in OPEN_AT_THE_END[what].splitlines()]
    code = (
        "import asyncio, os, threading\nimport dht\n"
        "def quietly(call):\n"
        "    try:\n        call()\n"
        "    except RuntimeError:\n        pass\n"
        "leader = dht.ViewLeader().start()\n"
        "server = dht.Server(leader.address, heartbeat=0.01).start()\n"
        + "\n".join(lines)
        + "\nprint('ends')\n"
    )
    for _ in range(3):
        assert program(code) == "ends\n"


def test_silent_by_default() -> None:
    """Also where the program has imported `logging`, and something is worth a warning."""
    with closed_port() as port:
        code = (
            "import logging, dht\n"
            f"server = dht.Server('127.0.0.1:{port}', heartbeat=0.01, join_timeout=0).start()\n"
            "assert next(server.events(timeout=20)).kind == 'heartbeat_failed'\n"
            "assert next(server.events(timeout=20)).kind == 'heartbeat_failed'\n"
            "server.stop()\n"
        )
        assert program(code) == ""


def test_importing_is_light() -> None:
    """What a node does not need is not imported; a node imports no `logging` either."""
    code = (
        "import sys, dht\n"
        "heavy = {'asyncio', 'logging', 'threading', 'dataclasses', 'subprocess', 'inspect'}\n"
        "with dht.ViewLeader() as leader, dht.Server(leader.address):\n"
        "    print(sorted(heavy & set(sys.modules)))\n"
        "print(dht.Ring([('a:1', 1)]), sorted(heavy & set(sys.modules)))\n"
        "assert 'Event' in dir(dht) and dht.events.Event is dht.Event\n"
    )
    assert program(code) == "[]\nRing([('a:1', 1)]) []\n"


def together(work: list[threading.Thread]) -> None:
    """Starts threads and waits for them."""
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(60)
        assert not thread.is_alive()


def test_many_threads_use_a_node() -> None:
    """They start, ask, follow and stop it at once; each start makes one node at the most."""
    failures: list[BaseException] = []
    leader, ports = dht.ViewLeader(), set()

    def work() -> None:
        try:
            for _ in range(20):
                ports.add(leader.start().port)
                assert leader.statistics().epoch == 0
                with leader.events(timeout=0) as events:
                    assert events.pending() == []
        except BaseException as error:
            failures.append(error)

    together([threading.Thread(target=work) for _ in range(8)])
    assert (failures, len(ports)) == ([], 1)

    def stop_and_start() -> None:
        try:
            for _ in range(20):
                leader.stop()
                leader.start()
        except BaseException as error:
            failures.append(error)

    together([threading.Thread(target=stop_and_start) for _ in range(8)])
    leader.stop()
    assert failures == []


def test_events_are_shared_by_threads() -> None:
    """Each event of one iterator goes to one of the threads that share it."""
    with dht.ViewLeader() as leader:
        shared, whole = leader.events(), leader.events()
        taken: list[dht.Event] = []
        threads = [threading.Thread(target=lambda: taken.extend(shared)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            with dht.Server(leader.address) as server:
                wait_until(lambda: leader.statistics().slots_settled == 10_000)
                server.leave(timeout=30)
        leader.stop()
        for thread in threads:
            thread.join(20)
        assert sorted(map(repr, taken)) == sorted(map(repr, whole))
        assert len(taken) >= 10


def test_while_the_interpreter_is_busy() -> None:
    """Nodes answer one another, and events come, while another thread never lets go by itself."""
    ends = threading.Event()

    def busy() -> None:
        while not ends.is_set():
            sum(range(1000))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        with (
            dht.ViewLeader() as leader,
            leader.events(timeout=20) as events,
            dht.Server(leader.address) as server,
            dht.Client(leader.address) as client,
        ):
            assert next(events).kind == "joined"
            wait_until(lambda: leader.statistics().slots_settled == 10_000)
            assert client.setr("busy", 1) == 1
            assert server.statistics().keys == 1
    finally:
        ends.set()
        thread.join(20)


def test_one_call_that_holds_the_interpreter() -> None:
    """Leases are renewed without the interpreter: no server is missed while nothing else runs."""
    lease = 1.0
    with (
        dht.ViewLeader(lease=lease) as leader,
        dht.Server(leader.address, heartbeat=lease / 10) as server,
        leader.events() as events,
    ):
        count, started = 1_000_000, time.monotonic()
        sum(range(count))  # one step of the interpreter
        count = int(count * 1.5 * lease / (time.monotonic() - started))
        started = time.monotonic()
        sum(range(count))
        assert time.monotonic() - started > lease / 2
        assert [address for address, _ in leader.statistics().ring] == [server.address]
        assert "failed" not in [event.kind for event in events.pending()]
