"""`dht.common`, `dht.common2` and the modules beside the scripts."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import placement
from dht import common, common2
from harness import SCRIPTS, clean_env, closed_port, wait_until
from rawwire import Closed, Connection, ask, frame


class Service(threading.Thread):
    """`listen` on a free port, in a thread, with a handler that notes what it is called with."""

    def __init__(self, timeout: float | None = None) -> None:
        super().__init__(daemon=True)
        self.timeout = timeout
        self.calls: list[tuple[dict[str, Any], Any]] = []
        self.result: object = None
        self.port = 0
        self.start()
        wait_until(lambda: self.port, what="init")

    def run(self) -> None:
        self.result = common.listen(0, self.handle, self.timeout)

    def handle(self, message: dict[str, Any], peer: Any) -> dict[str, Any]:
        self.calls.append((message, peer))
        match message["cmd"]:
            case "init":
                self.port = message["port"]
            case "stop":
                return {"abort": "asked to"}
            case "fail":
                raise ValueError("the handler's own mistake")
            case "echo":
                return {"status": "ok", "value": message["value"]}
        return {}

    def stop(self) -> None:
        if self.is_alive():
            common.send_receive("127.0.0.1", self.port, {"cmd": "stop"})
        self.join(10)
        assert not self.is_alive()


@pytest.fixture
def service() -> Iterator[Service]:
    """A service without a timeout."""
    running = Service()
    yield running
    running.stop()


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets whose reads give up."""
    ends = socket.socketpair()
    for end in ends:
        end.settimeout(10)
    return ends


def test_constants() -> None:
    """The original's constants, under its names."""
    assert (common2.SERVER_LOW, common2.SERVER_HIGH) == (38000, 38010)
    assert (common2.VIEWLEADER_LOW, common2.VIEWLEADER_HIGH) == (39000, 39010)
    assert common2.LOCK_LEASE == 30
    assert common.MAX_MESSAGE_SIZE == 8192


@pytest.mark.parametrize("text", ["", "hello", "é", "snow ☃", "0.5", "x" * 1000])
def test_hash_number(text: str) -> None:
    """Hashing agrees with the plain twin."""
    assert common.hash_number(text) == placement.position(text)


def test_send_and_receive_over_a_pair() -> None:
    """What `send` writes, `receive` reads, and the bytes are the wire's."""
    left, right = socket_pair()
    with left, right:
        message = {"cmd": "set", "key": "é", "val": [1.0, None, "\ud800"]}
        assert "error" not in (common.send(left, message) or {})
        header = right.recv(4, socket.MSG_PEEK)
        body = right.recv(65536, socket.MSG_PEEK)[4:]
        assert struct.unpack("!i", header)[0] == len(body)
        assert body.isascii()
        assert json.loads(body) == message
        assert common.receive(right) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        struct.pack("!i", 0),
        struct.pack("!i", -1),
        struct.pack("!i", 2**31 - 1),
        struct.pack("!i", 10) + b"{}",
        frame("not json"),
        frame("[1, 2]"),
        frame("5"),
        struct.pack("!i", 2) + b"\xff\xfe",
        frame("[" * 200_000),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_receive_gives_errors_as_dicts(data: bytes) -> None:
    """Nothing that a peer sends raises."""
    left, right = socket_pair()
    with right:
        with left:
            writer = threading.Thread(target=left.sendall, args=(data,))
            writer.start()
            got = common.receive(right) if len(data) > 4096 else None
            writer.join(10)
        got = got or common.receive(right)
    assert isinstance(got["error"], str)


def test_sending_gives_errors_as_dicts() -> None:
    """What cannot be sent gives a dict with `error`."""
    left, right = socket_pair()
    with left, right:
        assert "error" in common.send(left, {"cmd": object()})
    assert "error" in common.send(left, {"cmd": "a"})


def test_send_receive_where_nobody_listens() -> None:
    """A refused connection, an unknown host, a port that is none: always a dict with `error`."""
    with closed_port() as port:
        assert "error" in common.send_receive("127.0.0.1", port, {"cmd": "get"})
        reply = common.send_receive_range("127.0.0.1", port, port + 1, {"cmd": "get"})
        assert reply == {"error": "can't connect to 127.0.0.1"}
    assert "error" in common.send_receive("no such host.invalid", 1, {"cmd": "get"})
    assert "error" in common.send_receive("127.0.0.1", 99999, {"cmd": "get"})
    assert common.send_receive_range("h", 1, 1, {}) == {"error": "can't connect to h"}


def test_send_receive_range_takes_the_first_reply_without_error(service: Service) -> None:
    """Ports that refuse and ports that answer with an error are passed over."""
    message = {"cmd": "echo", "value": 7}
    reply = common.send_receive_range("127.0.0.1", service.port, service.port + 1, message)
    assert reply == {"status": "ok", "value": 7}
    failing = {"cmd": "fail"}
    reply = common.send_receive_range("127.0.0.1", service.port, service.port + 1, failing)
    assert reply == {"error": "can't connect to 127.0.0.1"}


def test_listen_calls_the_handler(service: Service) -> None:
    """First `init` with the port, then each request with the peer's address."""
    assert service.calls[0][0] == {"cmd": "init", "port": service.port}
    reply = ask(service.port, {"cmd": "echo", "value": {"a": [1, "é"]}}, "127.0.0.2")
    assert reply == {"status": "ok", "value": {"a": [1, "é"]}}
    assert service.calls[-1] == ({"cmd": "echo", "value": {"a": [1, "é"]}}, "127.0.0.2")
    assert ask(service.port, {"cmd": "anything"}) == {}


def test_listen_ends_at_abort(service: Service) -> None:
    """A dict with `abort` ends it; the port is free afterwards."""
    common.send_receive("127.0.0.1", service.port, {"cmd": "stop"})
    service.join(10)
    assert not service.is_alive()
    assert service.result == {"abort": "asked to"}
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", service.port))


def test_listen_reports_idle_time() -> None:
    """`timeout` comes after each idle stretch, again and again."""
    service = Service(timeout=0.05)
    wait_until(lambda: [message for message, _ in service.calls].count({"cmd": "timeout"}) >= 3)
    service.stop()


def test_listen_without_a_timeout_is_never_idle(service: Service) -> None:
    """No `timeout` is reported where none was asked for."""
    ask(service.port, {"cmd": "echo", "value": 1})
    assert [message["cmd"] for message, _ in service.calls] == ["init", "echo"]


@pytest.mark.parametrize("data", [b"\0\0\0\0", b"\xff\xff\xff\xff", frame("[]"), frame("nonsense")])
def test_listen_refuses_broken_frames(service: Service, data: bytes) -> None:
    """A broken frame gets no reply that could be taken for success, and serving goes on."""
    with Connection(service.port) as connection:
        connection.send_bytes(data)
        with contextlib.suppress(Closed):
            assert "error" in json.loads(connection.read_text())
        assert connection.is_closed()
    assert ask(service.port, {"cmd": "echo", "value": 1})["value"] == 1


def test_listen_is_not_stopped_by_a_half_sent_frame(service: Service) -> None:
    """Neither two bytes nor half a message delay another client."""
    with Connection(service.port) as first, Connection(service.port) as second:
        first.send_bytes(b"\0\0")
        second.send_bytes(struct.pack("!i", 100) + b'{"cmd"')
        assert ask(service.port, {"cmd": "echo", "value": 1})["value"] == 1


def test_listen_survives_a_handler_that_raises(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client gets a dict with `error`, the traceback is shown, and serving goes on."""
    assert "error" in ask(service.port, {"cmd": "fail"})
    assert ask(service.port, {"cmd": "echo", "value": 1})["value"] == 1
    assert "the handler's own mistake" in capsys.readouterr().err


def test_listen_on_a_taken_port_gives_an_error() -> None:
    """A port that cannot be bound is an error dict, and the handler is not called."""

    def handler(message: dict[str, Any], peer: Any) -> dict[str, Any]:
        raise AssertionError(message)

    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        assert "error" in common.listen(taken.getsockname()[1], handler)
    assert "error" in common.listen(99999, handler)


def answer_to_init(reply: dict[str, Any]) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """A handler that always returns `reply`."""
    return lambda message, peer: reply


def test_abort_in_init_and_in_timeout() -> None:
    """`abort` ends `listen` wherever the handler returns it."""
    assert common.listen(0, answer_to_init({"abort": 1}))
    calls = iter([{}, {"abort": 1}])
    assert common.listen(0, lambda message, peer: next(calls), 0.01)


def test_modules_beside_the_scripts() -> None:
    """`import common, common2` in the folder of the scripts gives the same functions."""
    code = (
        "import common, common2; "
        "print(common.hash_number('hello'), common2.SERVER_LOW, common.MAX_MESSAGE_SIZE, "
        "all(callable(f) for f in (common.send, common.receive, common.send_receive, "
        "common.send_receive_range, common.listen)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SCRIPTS,
        env=clean_env(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "3181 38000 8192 True\n", done.stderr


@pytest.mark.parametrize("port", [None, "no number", -1, 0, 65536 + 80])
def test_a_port_that_is_none(port: Any) -> None:
    """An error dict, never an exception, and never another port."""
    reply = common.send_receive("127.0.0.1", port, {})
    assert list(reply) == ["error"] and str(port) in reply["error"]


def test_listening_at_a_port_that_is_none() -> None:
    """As with one that cannot be bound."""
    assert "error" in common.listen("no number", lambda message, address: {})


@pytest.mark.parametrize("module", ["common", "common2"])
def test_a_link_to_a_module(module: str, tmp_path: Path) -> None:
    """As harnesses keep the modules beside their own files."""
    (tmp_path / f"{module}.py").symlink_to(SCRIPTS / f"{module}.py")
    argv = [sys.executable, "-c", f"import {module}; print({module}.__name__)"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"{module}\n", 0), done.stderr
