"""A proxy between parties that can cut, hold, delay and reset what they say, each way by itself.

Each party is reached at a gate of its own. Who has connected is told by the first message: a
server names itself in its messages to replicas, and only the view leader sends its requests.
Servers reach the view leader at one gate for each of them, so nothing has to be told there.

A gate refuses connections only while it is closed, which says that the process behind it is gone.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from chaos.links import CLIENTS, LEADER, OTHER_CLIENTS, Link, Way
from postcard import Reader

T = TypeVar("T")
READ_BYTES = 65_536
PEER_MARK = 0xD1
LEADER_COMMANDS = {"dht_assign", "dht_hello"}
# Resets at once, whatever has not been sent.
LINGER_NONE = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class Gate:
    """Where a party is reached. The fields belong to the loop of the proxy."""

    name: str
    port: int
    reserved: socket.socket
    """Bound to the port as long as the gate lives, so that no other program gets it."""
    known_dialer: str | None
    """Who connects here, where it is always the same."""
    listener: socket.socket | None = None
    """What accepts connections; none while the gate is closed."""
    upstream: int | None = None
    """The port of the party; not known at first, so connections wait."""
    upstream_known: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        """How others reach the party."""
        return f"127.0.0.1:{self.port}"


@dataclass(eq=False)
class Stream:
    """A connection that passes a gate."""

    gate: Gate
    dialer: str
    writers: list[asyncio.StreamWriter]
    broken: bool = False
    """Bytes were lost, so it cannot go on."""

    def reset(self) -> None:
        """Ends both sides at once."""
        for writer in self.writers:
            abort(writer)


def abort(writer: asyncio.StreamWriter) -> None:
    """Resets a connection."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
    writer.transport.abort()


def bound(port: int) -> socket.socket:
    """A socket that holds a port and does not listen yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


class Proxy:
    """All gates and links, on a thread of their own; methods may be called from any thread."""

    def __init__(self) -> None:
        """Starts the thread."""
        self.failures: list[str] = []
        """What the proxy did not understand."""
        self._loop = asyncio.new_event_loop()
        self._gates: dict[str, Gate] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._streams: set[Stream] = set()
        self._resets = 0
        self._clients = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._serve_all, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends every connection and the thread."""
        self._run(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for gate in self._gates.values():
            gate.reserved.close()

    def open_gate(self, name: str, dialer: str | None = None) -> Gate:
        """Opens a gate to the party `name`, of which nothing is known yet."""

        async def make() -> Gate:
            sock = bound(0)
            gate = Gate(name, sock.getsockname()[1], sock, dialer)
            self._gates[gate.address] = gate
            self._listen(gate)
            return gate

        return self._run(make)

    def point(self, gate: Gate, port: int) -> None:
        """Says where the party listens; a closed gate opens again."""

        async def point() -> None:
            gate.upstream = port
            gate.upstream_known.set()
            self._listen(gate)

        self._run(point)

    def close_gate(self, gate: Gate) -> None:
        """Refuses connections from now on; what is open ends by itself, as links allow."""

        async def close() -> None:
            gate.upstream_known.clear()
            self._refuse(gate)

        self._run(close)

    def expect(self, gate: Gate) -> None:
        """The party is starting again: connections wait until it is known where it listens."""

        async def expect() -> None:
            self._listen(gate)

        self._run(expect)

    def set_link(self, source: str, target: str, way: Way, delay_seconds: float = 0.0) -> None:
        """Says what happens to what `source` says to `target`."""

        async def change() -> None:
            self._link(source, target).set(way, delay_seconds)

        self._run(change)

    def heal(self) -> None:
        """Opens every link. What was held goes on; streams that lost bytes are reset."""

        async def heal() -> None:
            for link in self._links.values():
                link.set(Way.OPEN, 0.0)
            for stream in [stream for stream in self._streams if stream.broken]:
                stream.reset()

        self._run(heal)

    def reset(self, one: str, other: str) -> int:
        """Resets the connections between two parties; returns how many there were."""

        async def reset() -> int:
            pair = {one, other}
            found = [each for each in self._streams if {each.dialer, each.gate.name} == pair]
            for stream in found:
                stream.reset()
            self._resets += len(found)
            return len(found)

        return self._run(reset)

    def counts(self) -> dict[str, int]:
        """How often bytes were held, dropped and delayed so far, and how many resets there were."""

        async def count() -> dict[str, int]:
            links = list(self._links.values())
            return {
                "held": sum(link.held for link in links),
                "dropped": sum(link.dropped for link in links),
                "delayed": sum(link.delayed for link in links),
                "reset": self._resets,
            }

        return self._run(count)

    def dialers(self, name: str) -> list[str]:
        """Who has connections to a party, each as often as it has."""

        async def find() -> list[str]:
            return sorted(each.dialer for each in self._streams if each.gate.name == name)

        return self._run(find)

    def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        async def call() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def _link(self, source: str, target: str) -> Link:
        return self._links.setdefault((source, target), Link())

    def _listen(self, gate: Gate) -> None:
        if gate.listener is not None:
            return
        gate.listener = listener = bound(gate.port)
        listener.listen(1024)

        def accept() -> None:
            with suppress(OSError):
                sock, _ = listener.accept()
                task = self._loop.create_task(self._admit(gate, sock))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(lambda _: sock.close())

        self._loop.add_reader(listener, accept)

    def _refuse(self, gate: Gate) -> None:
        if gate.listener is not None:
            self._loop.remove_reader(gate.listener)
            gate.listener.close()
            gate.listener = None

    async def _admit(self, gate: Gate, sock: socket.socket) -> None:
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock, limit=READ_BYTES)
        try:
            await self._serve(gate, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except AssertionError as error:
            self.failures.append(str(error))
        finally:
            abort(writer)

    async def _stop(self) -> None:
        for gate in self._gates.values():
            self._refuse(gate)
        for stream in list(self._streams):
            stream.reset()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _serve_all(self) -> None:
        self._loop.run_forever()
        # What was aborted ends in the turns that follow.
        for _ in range(10):
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
        self._loop.close()

    async def _serve(
        self, gate: Gate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first, dialer = b"", gate.known_dialer
        if dialer is None:
            first, dialer = await self._who(reader)
        stream = Stream(gate, dialer, [writer])
        self._streams.add(stream)
        try:
            # A link that is shut keeps the connection itself from coming about.
            if not await self._link(dialer, gate.name).passes():
                stream.broken = True
                await reader.read()
                return
            if gate.listener is None:
                return  # closed since it was accepted: nobody will come
            await gate.upstream_known.wait()
            onward = await asyncio.open_connection("127.0.0.1", gate.upstream, limit=READ_BYTES)
            stream.writers.append(onward[1])
            await self._both_ways(stream, first, (reader, writer), onward)
        finally:
            self._streams.discard(stream)
            stream.reset()

    async def _both_ways(
        self,
        stream: Stream,
        first: bytes,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        far[1].write(first)
        there, back = (
            self._link(stream.dialer, stream.gate.name),
            self._link(stream.gate.name, stream.dialer),
        )
        pumps = [
            asyncio.create_task(pump(stream, there, near[0], far[1])),
            asyncio.create_task(pump(stream, back, far[0], near[1])),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _who(self, reader: asyncio.StreamReader) -> tuple[bytes, str]:
        """Reads as much as it takes to know who has connected; returns that, and who."""
        first, body = await read_frame(reader)
        if body != bytes([PEER_MARK]):
            if command(body) in LEADER_COMMANDS:
                return first, LEADER
            self._clients += 1
            return first, CLIENTS if self._clients % 2 else OTHER_CLIENTS
        second, body = await read_frame(reader)
        said = Reader(body)
        said.take(1)
        gate = self._gates.get(said.peer()[1])
        assert gate is not None, "a server speaks that is reached past the proxy"
        return first + second, gate.name


async def pump(
    stream: Stream, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carries one direction to its end; an end is held and lost as bytes are."""
    while True:
        data = await reader.read(READ_BYTES)
        if not await link.passes():
            stream.broken = True
        if stream.broken:
            if not data:
                return
            continue
        if not data:
            writer.write_eof()
            return
        writer.write(data)
        await writer.drain()


async def read_frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Reads one frame; returns it with and without its length."""
    header = await reader.readexactly(4)
    body = await reader.readexactly(int.from_bytes(header, "big"))
    return header + body, body


def command(body: bytes) -> str:
    """The command of a request; empty for anything else."""
    try:
        message = json.loads(body)
    except ValueError:
        return ""
    return str(message.get("cmd", "")) if isinstance(message, dict) else ""
