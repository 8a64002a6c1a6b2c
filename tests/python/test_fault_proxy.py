"""The proxy between real processes does what is asked of it, and nothing else."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import rawwire
from chaos.links import CLIENTS, LEADER, OTHER_CLIENTS, Way
from chaos.proxy import Gate, Proxy
from harness import wait_until
from rawwire import Connection

QUIET_SECONDS = 0.2


class Echo:
    """A party that sends back every frame, and remembers what it got."""

    def __init__(self) -> None:
        """Listens at once."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.got = b""
        self.ends = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(65_536):
                    self.got += data
                    sock.sendall(data)
            except OSError:
                pass
        self.ends += 1

    def close(self) -> None:
        """Refuses connections from now on."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy without gates."""
    made = Proxy()
    yield made
    made.stop()
    assert not made.failures


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A party to speak to."""
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def gate(proxy: Proxy, echo: Echo) -> Gate:
    """The gate to the echo, which only clients use."""
    made = proxy.open_gate("echo", CLIENTS)
    proxy.point(made, echo.port)
    return made


def silent(connection: Connection) -> bool:
    """Whether nothing comes for a while; nothing is taken."""
    connection.sock.settimeout(QUIET_SECONDS)
    try:
        connection.sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    return False


def test_an_open_link(proxy: Proxy, gate: Gate, echo: Echo) -> None:
    """Bytes pass both ways, and so does the end of a stream."""
    with Connection(gate.port) as connection:
        long = "x" * 300_000
        connection.send_text(long)
        assert connection.read_text() == long
        connection.half_close()
        assert connection.is_closed()
    wait_until(lambda: echo.ends == 1, what="the end to arrive")
    assert proxy.counts() == {"held": 0, "dropped": 0, "delayed": 0, "reset": 0}


@pytest.mark.parametrize("request_is_held", [True, False])
def test_a_held_direction(proxy: Proxy, gate: Gate, echo: Echo, request_is_held: bool) -> None:
    """What is said one way waits, and arrives when the link is opened; the other way is open."""
    with Connection(gate.port) as connection:
        connection.send_text("first")
        assert connection.read_text() == "first"
        one, other = (CLIENTS, "echo") if request_is_held else ("echo", CLIENTS)
        proxy.set_link(one, other, Way.HOLD)
        connection.send_text("second")
        wait_until(lambda: proxy.counts()["held"] == 1, what="something to be held")
        assert silent(connection)
        assert (b"second" in echo.got) != request_is_held
        proxy.heal()
        assert connection.read_text() == "second"
        assert b"second" in echo.got


def test_a_dropped_direction(proxy: Proxy, gate: Gate, echo: Echo) -> None:
    """What is said is lost for good; the connection ends when the link is opened."""
    with Connection(gate.port) as connection:
        connection.send_text("first")
        assert connection.read_text() == "first"
        proxy.set_link(CLIENTS, "echo", Way.DROP)
        connection.send_text("second")
        wait_until(lambda: proxy.counts()["dropped"] == 1, what="something to be dropped")
        assert silent(connection)
        proxy.heal()
        assert connection.is_closed()
    assert b"second" not in echo.got
    assert rawwire.ask_text(gate.port, "third") == "third"


@pytest.mark.parametrize("way", [Way.HOLD, Way.DROP])
def test_a_connection_that_begins_while_the_link_is_cut(
    proxy: Proxy, gate: Gate, echo: Echo, way: Way
) -> None:
    """It is neither refused nor answered."""
    proxy.set_link(CLIENTS, "echo", way)
    with Connection(gate.port) as connection:
        connection.send_text("late")
        assert silent(connection)
        assert echo.got == b""
        proxy.heal()
        if way is Way.HOLD:
            assert connection.read_text() == "late"
        else:
            assert connection.is_closed()
            assert echo.got == b""


def test_a_slow_direction(proxy: Proxy, gate: Gate) -> None:
    """Both ways take their time."""
    proxy.set_link(CLIENTS, "echo", Way.OPEN, 0.05)
    proxy.set_link("echo", CLIENTS, Way.OPEN, 0.05)
    began = time.monotonic()
    assert rawwire.ask_text(gate.port, "slow") == "slow"
    assert time.monotonic() - began >= 0.1
    assert proxy.counts()["delayed"] >= 2


def test_a_reset(proxy: Proxy, gate: Gate) -> None:
    """Connections of the two parties end, others do not."""
    with Connection(gate.port) as connection:
        connection.send_text("x")
        assert connection.read_text() == "x"
        assert proxy.reset("somebody else", "echo") == 0
        assert proxy.reset("echo", CLIENTS) == 1
        assert connection.is_closed()
    assert proxy.counts()["reset"] == 1


def test_a_closed_gate(proxy: Proxy, gate: Gate, echo: Echo) -> None:
    """It refuses; while its party is expected connections wait, at the same port as before."""
    proxy.close_gate(gate)
    with pytest.raises(ConnectionRefusedError):
        Connection(gate.port)
    proxy.expect(gate)
    with Connection(gate.port) as connection:
        connection.send_text("early")
        assert silent(connection)
        proxy.point(gate, echo.port)
        assert connection.read_text() == "early"


def test_a_connection_whose_party_ends_before_it_is_there(proxy: Proxy, gate: Gate) -> None:
    """It is reset, as the system does with connections that a program has not accepted."""
    proxy.set_link(CLIENTS, "echo", Way.HOLD)
    with Connection(gate.port) as connection:
        wait_until(lambda: proxy.dialers("echo"), what="the connection to be accepted")
        proxy.close_gate(gate)
        proxy.heal()
        assert connection.is_closed()


def test_clients_are_two_parties(proxy: Proxy, echo: Echo) -> None:
    """One hears nothing while the other one is served."""
    gate = proxy.open_gate("s1")
    proxy.point(gate, echo.port)
    proxy.set_link("s1", OTHER_CLIENTS, Way.HOLD)
    with Connection(gate.port) as one, Connection(gate.port) as other:
        one.send_text("{}")
        assert one.read_text() == "{}"
        other.send_text("{}")
        assert silent(other)
        assert proxy.dialers("s1") == [CLIENTS, OTHER_CLIENTS]


def test_who_connects(proxy: Proxy, echo: Echo) -> None:
    """A server is told by its first message, the view leader by its requests."""
    gate, other = proxy.open_gate("s1"), proxy.open_gate("s2")
    proxy.point(gate, echo.port)
    with (
        Connection(gate.port) as leader,
        Connection(gate.port) as client,
        Connection(gate.port) as server,
    ):
        leader.send_text(json.dumps({"cmd": "dht_hello", "dht": 1}))
        client.send_text(json.dumps({"cmd": "get", "key": "k"}))
        address = other.address.encode()
        said = b"\xd1\x010" + bytes([len(address)]) + address + b"\x011\x00\x00"
        server.send_bytes(b"\x00\x00\x00\x01\xd1" + len(said).to_bytes(4, "big") + said)
        wait_until(lambda: len(proxy.dialers("s1")) == 3, what="all to be known")
        assert proxy.dialers("s1") == [CLIENTS, LEADER, "s2"]
        proxy.set_link("s1", LEADER, Way.HOLD)
        assert server.sock.recv(1) == b"\x00"
        assert client.read_text() == '{"cmd": "get", "key": "k"}'
