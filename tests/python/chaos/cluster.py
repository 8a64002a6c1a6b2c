"""A ring of real processes in which nobody reaches anybody but through the proxy."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import placement
from chaos.links import CLIENTS, LEADER, Way
from chaos.proxy import Gate, Proxy
from harness import Program, answers, script, wait_until
from rawwire import Closed, ask

SETTLE_SECONDS = 60.0


@dataclass(eq=False)
class Server:
    """A server at its gate, by whatever process it is run at present."""

    name: str
    gate: Gate
    program: Program
    stopped: bool = False

    @property
    def alive(self) -> bool:
        """Whether a process runs, stopped or not."""
        return self.program.alive()


def identity(server: Server) -> str | None:
    """Which life of a server this is; `None` where it does not answer."""
    try:
        hello = ask(server.program.port, {"cmd": "dht_hello", "dht": 1})
    except (OSError, Closed):
        return None
    return str(hello["dht"]["id"])


class Cluster:
    """One view leader, servers, and the proxy."""

    def __init__(
        self,
        servers: int,
        lease_seconds: float = 1.5,
        heartbeat: float = 0.3,
        *,
        can_leave: bool = False,
        data: Path | None = None,
    ) -> None:
        """Starts everything and waits until the ring is settled.

        Servers that can leave are processes that do so when they are asked. With `data`, each
        process has a directory in there.
        """
        self.can_leave = can_leave
        self.data = data
        self.proxy = Proxy()
        self.lease_seconds = lease_seconds
        self.leader_restarts = 0
        self._options = ("--bind", "127.0.0.1", "--port", "0", "--quiet")
        self._heartbeat = ("--heartbeat", str(heartbeat))
        self._programs: list[Program] = []
        self._servers: dict[str, Server] = {}
        self._names = 0
        self.leader_gates = {CLIENTS: self.proxy.open_gate(LEADER, CLIENTS)}
        try:
            self.leader = self._start_leader()
            self.add(servers)
            self.wait_settled()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kills every process and ends the proxy."""
        for program in self._programs:
            program.kill()
        self.proxy.stop()
        assert not self.proxy.failures, self.proxy.failures

    @property
    def viewleader(self) -> str:
        """Where clients reach the view leader."""
        return self.leader_gates[CLIENTS].address

    def servers(self) -> list[Server]:
        """The servers whose process runs, by name."""
        return [server for server in self._servers.values() if server.alive]

    def all_servers(self) -> list[Server]:
        """All servers that there ever were."""
        return list(self._servers.values())

    def add(self, count: int = 1) -> list[Server]:
        """Starts new servers, each at an address of its own, and does not wait for them."""
        added = []
        for _ in range(count):
            self._names += 1
            name = f"s{self._names}"
            gate = self.proxy.open_gate(name)
            self.leader_gates[name] = self.proxy.open_gate(LEADER, name)
            self.proxy.point(self.leader_gates[name], self.leader.port)
            added.append(Server(name, gate, self._start_server(name, gate)))
            self._servers[name] = added[-1]
        for server in added:
            self.proxy.point(server.gate, server.program.port)
        return added

    def kill(self, *servers: Server) -> None:
        """Kills processes, all at once; from then on their addresses refuse connections."""
        for server in servers:
            server.program.process.kill()
        for server in servers:
            server.program.kill()
            server.stopped = False
            self.proxy.close_gate(server.gate)

    def leave(self, *servers: Server) -> None:
        """Asks servers to leave, all at once, and waits until they have."""
        for server in servers:
            server.program.process.send_signal(signal.SIGTERM)
        for server in servers:
            status = server.program.wait(SETTLE_SECONDS)
            assert status == 0, (server.name, status, server.program.errors)
            self.proxy.close_gate(server.gate)

    def restart(self, server: Server) -> None:
        """Starts a server where one was killed: the same address and disk, another identity."""
        assert not server.alive
        self.proxy.expect(server.gate)
        server.program = self._start_server(server.name, server.gate)
        self.proxy.point(server.gate, server.program.port)

    def pause(self, *servers: Server) -> None:
        """Stops processes, which notice nothing."""
        for server in servers:
            server.program.pause()
            server.stopped = True

    def resume(self) -> None:
        """Lets all stopped processes go on."""
        self.leader.resume()
        for server in self.servers():
            if server.stopped:
                server.program.resume()
                server.stopped = False

    def kill_leader(self) -> None:
        """Kills the view leader."""
        self.leader.kill()
        for gate in self.leader_gates.values():
            self.proxy.close_gate(gate)

    def restart_leader(self) -> None:
        """Starts another view leader where the last one was."""
        for gate in self.leader_gates.values():
            self.proxy.expect(gate)
        self.leader = self._start_leader()
        self.leader_restarts += 1

    def links(self, one: str, others: Iterable[str], way: Way, delay_seconds: float = 0.0) -> None:
        """Sets both directions between one party and others."""
        for other in others:
            self.proxy.set_link(one, other, way, delay_seconds)
            self.proxy.set_link(other, one, way, delay_seconds)

    def view(self) -> dict[str, Any]:
        """What the view leader says, past the proxy."""
        return ask(self.leader.port, {"cmd": "query_servers", "dht": 1})

    def lists(self, *servers: Server) -> bool:
        """Whether the view lists all these servers."""
        listed = {pair[0] for pair in self.view()["result"]}
        return listed.issuperset(server.gate.address for server in servers)

    def lists_none(self, *servers: Server) -> bool:
        """Whether the view lists none of these servers."""
        listed = {pair[0] for pair in self.view()["result"]}
        return listed.isdisjoint(server.gate.address for server in servers)

    def wait_settled(self, seconds: float = SETTLE_SECONDS) -> None:
        """Waits until the view has the running processes and no other, and nothing moves.

        By their identities: one that was killed a moment ago may still be listed at the address of
        its successor.
        """

        def settled() -> bool:
            view = self.view()
            listed = {(who, address) for who, address, _ in view["dht"]["servers"]}
            here = {(identity(server), server.gate.address) for server in self.servers()}
            return bool(listed == here and view["dht"]["settled"])

        try:
            wait_until(settled, seconds, "the ring to settle")
        except AssertionError as error:
            alive = {server.name: server.gate.address for server in self.servers()}
            raise AssertionError(f"{error}; alive: {alive}; view: {self.view()}") from None

    def misplaced(self, values: dict[str, str | None]) -> dict[str, Any]:
        """What is wrong: of each server the keys that it holds and should not, or the reverse.

        `values` are all keys that were ever used, with what each must be as JSON; `None` for
        nothing. For each key stand what the server holds, and what it should.
        """
        there = {key: value for key, value in values.items() if value is not None}
        expected = placement.expected_keys(self.view()["result"], there)
        wrong: dict[str, Any] = {}
        for server in self.servers():
            held = self.holds(server)
            if held is None:
                wrong[server.name] = "does not answer"
                continue
            should = {key: there[key] for key in expected.get(server.gate.address, set())}
            differ = {
                key for key in held.keys() | should.keys() if held.get(key) != should.get(key)
            }
            if differ:
                wrong[server.name] = {key: [held.get(key), should.get(key)] for key in differ}
        return wrong

    def stats(self) -> dict[str, Any]:
        """What view leader and servers say of themselves, for somebody who looks for a fault."""
        said: dict[str, Any] = {LEADER: self.view()}
        for server in self.servers():
            said[server.name] = ask(server.program.port, {"cmd": "dht_stats", "dht": 1})
        return said

    def holds(self, server: Server) -> dict[str, str] | None:
        """Keys and values of one server, past the proxy; `None` if it does not answer."""
        port = server.program.port
        try:
            keys = ask(port, {"cmd": "query_all_keys"})["result"]
            replies = {key: ask(port, {"cmd": "get", "key": key}) for key in keys}
        except (OSError, Closed):
            return None
        return {key: json.dumps(reply.get("value")) for key, reply in replies.items()}

    def _start(self, argv: list[str]) -> Program:
        program = Program(argv)
        self._programs.append(program)
        return program

    def _start_server(self, name: str, gate: Gate) -> Program:
        reach = ("--advertise", gate.address, "--viewleader", self.leader_gates[name].address)
        if self.can_leave:
            return self._start([sys.executable, "-m", "chaos.member", *self._heartbeat, *reach])
        argv = script("server.py", *self._options, *self._heartbeat, *reach, *self._disk(name))
        return self._start(argv)

    def _disk(self, name: str) -> tuple[str, ...]:
        return () if self.data is None else ("--data-dir", str(self.data / name))

    def _start_leader(self) -> Program:
        lease = ("--lease", str(self.lease_seconds))
        program = self._start(script("viewleader.py", *self._options, *lease, *self._disk(LEADER)))
        wait_until(lambda: answers(program.port, "query_servers"), what="the view leader")
        for gate in self.leader_gates.values():
            self.proxy.point(gate, program.port)
        return program
