"""What no peer should send, and how the programs take it."""

from __future__ import annotations

import json
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from harness import run, script, wait_until
from rawwire import Closed, Connection, ask, ask_text
from rings import Ring

IDLE_CONNECTIONS = 1000
OPEN_FILES = 4096


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for more open files, here and in the programs that the test starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_idle_connections(many_files: None, make_ring: Callable[..., Ring]) -> None:
    """Idle connections to the server and to the view leader cost the others nothing."""
    ring = make_ring(1)
    ports = (ring.leader.port, ring.servers[0].port)
    with ExitStack() as stack:
        for port in ports:
            for _ in range(IDLE_CONNECTIONS):
                stack.enter_context(Connection(port))
        assert ring.client("setr", "a", "1") == ("Trying to setr a to 1\nset a to 1\n", 0)
        assert ring.client("getr", "a") == ("{'status': 'ok', 'value': '1'}\n", 0)
        for port in ports:
            with Connection(port) as connection:
                connection.send_bytes(b"\0\0")
        assert len(ring.view()) == 1
    assert ring.client("getr", "a") == ("{'status': 'ok', 'value': '1'}\n", 0)


def test_half_sent_frames_delay_nobody(ring: Ring) -> None:
    """Neither the server nor the view leader waits for the rest of a message."""
    for port in (ring.leader.port, ring.servers[0].port):
        with ExitStack() as stack:
            for count in (1, 2, 3, 4, 5, 50):
                half = stack.enter_context(Connection(port))
                half.send_bytes((struct.pack("!i", 100) + b'{"cmd":"get"' + b" " * 50)[:count])
            with Connection(port) as connection:
                connection.send_text('{"cmd":"no such command"}')
                assert "error" in json.loads(connection.read_text(1.0))
    assert ring.client("setr", "half", "1")[1] == 0


def test_a_half_sent_frame_is_dropped(ring: Ring) -> None:
    """After a read timeout the connection is closed, with an error at the most."""
    with Connection(ring.leader.port) as first, Connection(ring.servers[0].port) as second:
        for connection in (first, second):
            connection.send_bytes(struct.pack("!i", 100) + b'{"cmd":')
        for connection in (first, second):
            with suppress(Closed):
                assert "error" in json.loads(connection.read_text(60.0))
            assert connection.is_closed()


def test_a_frame_in_many_pieces(ring: Ring) -> None:
    """A message that comes byte by byte is a message."""
    server = ring.servers[0].port
    with Connection(server) as connection:
        text = b'{"cmd":"get","key":"no such key"}'
        for byte in struct.pack("!i", len(text)) + text:
            connection.send_bytes(bytes([byte]))
        assert json.loads(connection.read_text()) == {"status": "not_found"}


@pytest.mark.parametrize("depth", [500, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting(ring: Ring, depth: int, opening: str) -> None:
    """Deep values come back or are refused; the program stays either way."""
    closing = {"[": "]", '{"a":': "}"}[opening]
    value = opening * depth + "1" + closing * depth
    server = ring.servers[0].port
    text = ask_text(server, f'{{"cmd":"set","key":"deep","val":{value}}}')
    if depth <= 500:
        assert json.loads(text) == {"status": "ok"}
        got = ask_text(server, '{"cmd":"get","key":"deep"}').replace(" ", "")
        assert got == f'{{"status":"ok","value":{value}}}'
    else:
        assert "error" in json.loads(text)
    assert ask(server, {"cmd": "get", "key": "no such key"}) == {"status": "not_found"}


def test_long_values_and_names(ring: Ring) -> None:
    """Messages of 8192 bytes and more, which the original refuses, are taken up to the limit."""
    for size in (8192, 100_000, 4_000_000):
        value = "x" * size
        key = f"long {size}"
        assert ask(ring.servers[0].port, {"cmd": "set", "key": key, "val": value}) == {
            "status": "ok"
        }
        assert ask(ring.servers[0].port, {"cmd": "get", "key": key})["value"] == value
    client = ring.connect()
    value = json.dumps("y" * 4_000_000)
    assert len(client.setr('"long"', value)) == 3
    assert client.getr('"long"') == value
    name = json.dumps("n" * 50_000)
    client.setr(name, "1")
    assert client.getr(name) == "1"


def test_too_long_for_the_client(ring: Ring) -> None:
    """The client refuses what is over its own limit, on one line that names the option."""
    hosts = [*ring.hosts(), "--max-message-size", "2000"]
    assert ring.client("setr", "size", "small")[1] == 0
    for name, value in (("size", "x" * 3000), ("x" * 3000, "small")):
        stdout, status = ring.client("setr", name, value, hosts=hosts)
        said = [line for line in stdout.splitlines() if not line.startswith("Trying to setr")]
        assert (len(said), status) == (1, 1), stdout
        assert "--max-message-size" in said[0]
        stdout, status = ring.client("set", name, value, hosts=hosts)
        assert stdout.startswith("{'error': ") and stdout.count("\n") == 1
        assert status == 0
        assert "--max-message-size" in stdout
    assert ring.client("getr", "size") == ("{'status': 'ok', 'value': 'small'}\n", 0)


def test_too_long_for_the_servers(make_ring: Callable[..., Ring]) -> None:
    """Servers with a smaller limit refuse what is over it; one line says so; nothing is lost."""
    options = ("--heartbeat", "0.3", "--max-message-size", "5000")
    ring = make_ring(3, server_options=options)
    assert ring.client("setr", "size", "small")[1] == 0
    for name, value in (("size", "x" * 6000), ("x" * 6000, "small")):
        stdout, status = ring.client("setr", name, value)
        said = [line for line in stdout.splitlines() if not line.startswith("Trying to setr")]
        assert (len(said), status) == (1, 1), stdout
        assert "--max-message-size" in said[0]
        assert "try again" not in said[0], "the same message will be too long again"
        stdout, status = ring.client("set", name, value)
        assert stdout.startswith("{'error': ") and stdout.count("\n") == 1
        assert status == 0
    assert ring.client("getr", "size") == ("{'status': 'ok', 'value': 'small'}\n", 0)
    assert ring.client("setr", "size", "other")[1] == 0
    wait_until(lambda: len(ring.view()) == 3, what="all servers to be there still")


def test_words_that_are_not_unicode(ring: Ring) -> None:
    """Undecodable bytes on the command line are carried through, as Python writes them."""
    argv = script("client.py", *ring.hosts())
    word = b"\xff\xe9".decode("utf-8", "surrogateescape")
    done = run([*argv, "setr", word, word])
    assert done.returncode == 0, done.stderr
    done = run([*argv, "getr", word])
    assert (done.stdout, done.returncode) == (r"{'status': 'ok', 'value': '\udcff\udce9'}" "\n", 0)
    done = run([*argv, "set", word, word])
    assert done.stdout == "{'status': 'ok'}\n"
    done = run([*argv, "get", word])
    assert done.stdout == r"{'status': 'ok', 'value': '\udcff\udce9'}" "\n"


def test_broken_frames_do_not_disturb_a_ring(ring: Ring) -> None:
    """Rubbish of every length to every party, then a write and a read."""
    for program in (ring.leader, *ring.servers):
        for length in (1, 2, 3, 4, 5, 8, 64, 5000):
            for byte in (b"\0", b"\xd1", b"\xff", b"{"):
                with Connection(program.port) as connection:
                    connection.send_bytes(byte * length)
        for rubbish in (b"\xd1", b"\xd1" * 9, b"\xd1\x00\x01", b"\xd1" + b"\xff" * 200):
            with Connection(program.port) as connection:
                connection.send_bytes(struct.pack("!i", len(rubbish)) + rubbish)
                connection.half_close()
                while not ended(connection):
                    pass
        assert program.alive()
    assert ring.client("setr", "after", "all")[1] == 0
    assert ring.client("getr", "after") == ("{'status': 'ok', 'value': 'all'}\n", 0)


def ended(connection: Connection) -> bool:
    """Whether the peer has closed, with or without a reply before."""
    try:
        connection.read_text()
    except Closed:
        return True
    return False
