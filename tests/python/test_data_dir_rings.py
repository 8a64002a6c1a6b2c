"""Rings of real processes that keep everything on disk: all killed, and restarted in turn."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import dht
from harness import Program, answers, run, script, wait_until
from ops import Load, command, terminate
from rawwire import ask

LEADER = "leader"


class DiskRing:
    """A view leader and servers, each with a directory and a port that it keeps."""

    def __init__(self, path: Path, servers: int) -> None:
        """Starts them all and waits until nothing moves."""
        self.path = path
        self.ports: dict[str, int] = {}
        self.programs: dict[str, Program] = {}
        self.names = [f"s{number}" for number in range(servers)]
        self.started: list[Program] = []
        for name in [LEADER, *self.names]:
            self.start(name)
        self.settle()

    def start(self, name: str) -> None:
        """Starts a process on its directory, at its port where it had one."""
        place = ("--bind", "127.0.0.1", "--port", str(self.ports.get(name, 0)))
        disk = ("--data-dir", str(self.path / name))
        if name == LEADER:
            argv = script("viewleader.py", *place, *disk, "--lease", "1.5")
        else:
            leader = ("--viewleader", self.address)
            argv = script("server.py", *place, *disk, *leader, "--heartbeat", "0.3")
        program = self.programs[name] = Program(argv)
        self.started.append(program)
        self.ports[name] = program.port
        if name == LEADER:
            wait_until(lambda: answers(program.port, "query_servers"), what="the view leader")

    @property
    def address(self) -> str:
        """The view leader's."""
        return f"127.0.0.1:{self.ports[LEADER]}"

    def kill(self, *names: str) -> None:
        """Kills processes, all at once."""
        for name in names:
            self.programs[name].process.kill()
        for name in names:
            self.programs[name].kill()

    def settle(self) -> None:
        """Waits until the view has all servers and nothing moves."""
        wanted = {f"127.0.0.1:{self.ports[name]}" for name in self.names}

        def settled() -> bool:
            view = ask(self.ports[LEADER], {"cmd": "query_servers", "dht": 1})
            return {pair[0] for pair in view["result"]} == wanted and bool(view["dht"]["settled"])

        wait_until(settled, 60, "the ring to settle")

    def counts(self) -> tuple[int, int]:
        """Epoch and revision."""
        view = ask(self.ports[LEADER], {"cmd": "query_servers", "dht": 1})
        return view["epoch"], view["dht"]["revision"]

    def stop(self) -> None:
        """Kills what runs."""
        for program in self.started:
            program.kill()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[DiskRing]:
    """Four servers and a view leader."""
    made = DiskRing(tmp_path, 4)
    yield made
    made.stop()


def test_the_whole_ring_is_killed_and_comes_back_in_any_order(ring: DiskRing) -> None:
    """Every acknowledged write is there, locks are as they were, numbers are not used twice."""
    rng = random.Random(1)
    written: dict[str, int] = {}
    with dht.Client(ring.address, timeout=15) as client:
        assert client.lock_get("l", "holder", wait=False)
        assert not client.lock_get("l", "waiter", wait=False)
        for number in range(5):
            names = {f"name{number}-{index}": index for index in range(60)}
            client.setr_many(names)
            written |= names
            counts = ring.counts()
            parties = [LEADER, *ring.names]
            ring.kill(*parties)
            # First the view leader last, then first, then by chance.
            order = [[*ring.names, LEADER], parties, *[rng.sample(parties, 5)] * 3][number]
            for name in order:
                ring.start(name)
            assert client.getr_many(written) == written
            assert ring.counts() >= counts
            assert not client.lock_get("l", "waiter", wait=False)
            assert client.lock_get("l", "holder", wait=False)
            ring.settle()
    assert not ring.programs[LEADER].saw("DATA LOST")


def test_a_rolling_restart_of_every_process(ring: DiskRing) -> None:
    """Each is found safe to end, ends, and starts again on its directory; no call fails."""
    pairs = {f"name{number}": number for number in range(200)}
    with dht.Client(ring.address, timeout=15) as client:
        client.setr_many(pairs)
        load = Load(ring.address, [f"loaded{number}" for number in range(10)])
        for name in ring.names:
            load.goes_on()
            server = f"127.0.0.1:{ring.ports[name]}"
            asked = command("restart-safe", server, "--viewleader", ring.address, "--wait", "30")
            assert run(asked, 60).returncode == 0
            terminate(ring.programs[name])
            assert ring.programs[name].wait(60) == 0
            ring.start(name)
            ring.settle()
        load.goes_on()
        terminate(ring.programs[LEADER])
        assert ring.programs[LEADER].wait(20) == 0
        ring.start(LEADER)
        ring.settle()
        load.goes_on()
        load.stop()
        assert client.getr_many(pairs) == pairs


def test_values_of_a_server_alone_survive_too(ring: DiskRing) -> None:
    """`set` is acknowledged once it is on disk."""
    server = f"127.0.0.1:{ring.ports['s0']}"
    with dht.Client(ring.address, server=server, timeout=15) as client:
        for number in range(30):
            client.set(f"own{number}", number)
        ring.programs["s0"].process.send_signal(signal.SIGKILL)
        ring.kill("s0")
        ring.start("s0")
        assert [client.get(f"own{number}") for number in range(30)] == list(range(30))
