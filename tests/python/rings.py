"""A ring of real processes: one view leader and its servers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import placement
from dht import _dht
from harness import Program, answers, original, run, script, wait_until
from rawwire import Closed, ask

LEASE = ("--lease", "1.5")
HEARTBEAT = ("--heartbeat", "0.3")


class Ring:
    """A view leader and its servers, ours or stand-ins of the originals."""

    def __init__(
        self,
        servers: int = 0,
        *,
        leader_options: Sequence[str] = LEASE,
        server_options: Sequence[str] = HEARTBEAT,
        original_leader: bool = False,
        original_servers: bool = False,
    ) -> None:
        """Starts the view leader, waits until it answers, and adds `servers` servers."""
        self.programs: list[Program] = []
        self.servers: list[Program] = []
        self.server_options = tuple(server_options)
        self.original_servers = original_servers
        start = original if original_leader else script
        name = "viewleader" if original_leader else "viewleader.py"
        self.leader = self._start(start(name, "--port", "0", *leader_options))
        try:
            wait_until(lambda: answers(self.leader.port, "query_servers"), what="the view leader")
            self.add(servers)
        except BaseException:
            self.stop()
            raise

    def _start(self, argv: Sequence[str]) -> Program:
        program = Program(argv)
        self.programs.append(program)
        return program

    def begin(self, *options: str) -> Program:
        """Starts a server and waits for nothing."""
        start = original if self.original_servers else script
        name = "server" if self.original_servers else "server.py"
        leader = ("--viewleader", self.leader.address)
        program = self._start(start(name, "--port", "0", *leader, *self.server_options, *options))
        self.servers.append(program)
        return program

    def add(self, count: int = 1, *options: str) -> list[Program]:
        """Starts servers and waits until the view lists all of the ring's."""
        added = [self.begin(*options) for _ in range(count)]
        self.wait_members()
        return added

    def kill(self, server: Program) -> None:
        """Kills a server the hard way; the view leader is not told."""
        server.kill()
        self.servers.remove(server)

    def stop(self) -> None:
        """Kills every process that the ring has started."""
        for program in self.programs:
            program.kill()

    def view(self) -> list[list[Any]]:
        """What `query_servers` lists: pairs of address and hash."""
        result = ask(self.leader.port, {"cmd": "query_servers"})["result"]
        assert isinstance(result, list)
        return result

    def epoch(self) -> int:
        """The epoch that `query_servers` gives."""
        epoch = ask(self.leader.port, {"cmd": "query_servers"})["epoch"]
        assert isinstance(epoch, int)
        return epoch

    def addresses(self) -> set[str]:
        """The addresses of the running servers."""
        return {server.address for server in self.servers}

    def by_address(self, address: str) -> Program:
        """The running server of this address."""
        return next(server for server in self.servers if server.address == address)

    def replicas(self, key: str) -> list[Program]:
        """The running servers that hold `key`, first to last."""
        return [self.by_address(address) for address in placement.replicas(self.view(), key)]

    def wait_members(self) -> None:
        """Waits until the view lists the running servers and no other."""
        wait_until(
            lambda: {pair[0] for pair in self.view()} == self.addresses(),
            what=f"the view to list {self.addresses()}",
        )

    def wait_placed(self, keys: Iterable[str]) -> None:
        """Waits until every server holds exactly the keys that the twin gives it, and says so."""
        keys = list(keys)
        self.wait_members()
        misplaced: dict[str, object] = {}

        def placed() -> bool:
            expected = placement.expected_keys(self.view(), keys)
            misplaced.clear()
            for address, wanted in expected.items():
                held = held_keys(address)
                if held != wanted:
                    missing, extra = len(wanted - (held or set())), len((held or set()) - wanted)
                    misplaced[address] = f"{missing} missing, {extra} too many"
            return not misplaced

        try:
            wait_until(placed, what="every key on its right servers")
        except AssertionError as error:
            raise AssertionError(f"{error}; {misplaced}; leader: {self.leader.lines}") from None

    def client(self, *args: str, hosts: Sequence[str] | None = None) -> tuple[str, int]:
        """Runs `client.py` against this ring; returns what it printed and its status.

        What it says on standard error comes after its output, and is one line at the most.
        """
        done = run(script("client.py", *(self.hosts() if hosts is None else hosts), *args))
        assert done.stderr.count("\n") <= 1, done.stderr
        return done.stdout + done.stderr, done.returncode

    def hosts(self) -> list[str]:
        """The options that point a client at this ring."""
        server = ["--server", self.servers[0].address] if self.servers else []
        return [*server, "--viewleader", self.leader.address]

    def connect(self) -> _dht.Client:
        """A client in this process."""
        return _dht.Client(viewleader=self.leader.address, timeout_ms=15_000)


def held_keys(address: str) -> set[str] | None:
    """What `query_all_keys` of a server lists; `None` when it does not answer."""
    try:
        reply = ask(int(address.rpartition(":")[2]), {"cmd": "query_all_keys"})
    except (OSError, Closed):
        return None
    listed = reply["result"]
    assert len(listed) == len(set(listed)), f"{address} lists a key twice"
    return set(listed)


def store(client: _dht.Client, pairs: Mapping[str, Any]) -> None:
    """Writes pairs with `setr`."""
    for key, value in pairs.items():
        client.setr(json.dumps(key), json.dumps(value))


def unreadable(client: _dht.Client, pairs: Mapping[str, Any]) -> dict[str, str | None]:
    """The pairs that `getr` does not give back, with what it gives."""
    got = {key: client.getr(json.dumps(key)) for key in pairs}
    return {key: text for key, text in got.items() if text != json.dumps(pairs[key])}
