"""The server half of `dht.common`: one thread that no client can stop or delay.

The handler runs in the caller's thread, one request at a time, as handlers written for the
original expect. All waiting for peers is done by a selector, so a half-sent message costs only
its own connection.
"""

import errno
import json
import selectors
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from dht._limits import message_bytes_max

Handler = Callable[[dict[str, Any], str | None], Any]

READ_TIMEOUT_S = 5.0
"""How long a client may take to send its request."""

WRITE_TIMEOUT_S = 5.0
"""How long a client may take to accept its reply."""

DRAIN_TIMEOUT_S = 1.0
"""How long to wait for a client's own close, so that closing does not destroy the reply."""

CONNECTIONS_MAX = 512
"""At this many connections the one that has been silent longest is dropped for a new one."""

_LENGTH = struct.Struct("!i")
_READ_BYTES = 1 << 16


def listen(port: int | str, handler: Handler, timeout: float | None = None) -> dict[str, Any]:
    """Serve requests on a port of all interfaces until the handler says `abort`.

    The handler is called with `{"cmd": "init", "port": PORT}` and `None` once the port is bound,
    with `{"cmd": "timeout"}` and `None` after each `timeout` seconds without a request, and with
    each request and its sender's IP address. What it returns is the reply; where it raises, the
    traceback goes to stderr, the client gets a dict with `error`, and serving goes on.

    Args:
        port: The port number, also as text; 0 takes any free one, and `init` tells which.
        handler: Takes a dict and an address, returns anything that `json.dumps` takes.
        timeout: In seconds; `None` for never.

    Returns:
        The dict with `abort` that the handler returned for a request, or a dict with `error` where
        it did so for `init` or `timeout`, or where the port cannot be bound.
    """
    try:
        listener = _bind(int(port))
    except (OSError, OverflowError, TypeError, ValueError) as error:
        return {"error": f"can't bind {error}"}
    service = _Service(listener, handler, timeout)
    try:
        return service.run()
    finally:
        service.close()


def _bind(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen(128)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


class _Connection:
    """One client: first its request comes in, then its reply goes out, then it hangs up."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self.sock = sock
        self.address = address
        self.incoming = bytearray()
        self.outgoing = memoryview(b"")
        self.draining = False
        self.deadline = time.monotonic() + READ_TIMEOUT_S

    def fill(self) -> bool:
        """Take what has come; say whether the client is still there."""
        part = self.sock.recv(_READ_BYTES)
        if not self.draining:
            self.incoming += part
        return bool(part)

    def request(self, limit: int) -> dict[str, Any] | None:
        """Return the request once it is whole; raise `ValueError` for one that never will be."""
        if len(self.incoming) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self.incoming)
        if not 0 < length <= limit:
            raise ValueError(f"message length {length} is out of range")
        if len(self.incoming) < _LENGTH.size + length:
            return None
        text = self.incoming[_LENGTH.size : _LENGTH.size + length].decode()
        message = json.loads(text)
        if not isinstance(message, dict):
            raise ValueError("message is not a JSON object")
        if "cmd" not in message:
            raise ValueError("message has no cmd")
        return message


class _Service:
    def __init__(self, listener: socket.socket, handler: Handler, timeout: float | None) -> None:
        self.limit = message_bytes_max()
        self.listener = listener
        self.handler = handler
        self.timeout = timeout or None
        self.connections: set[_Connection] = set()
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)
        self.aborted: dict[str, Any] | None = None

    def run(self) -> dict[str, Any]:
        init = {"cmd": "init", "port": self.listener.getsockname()[1]}
        if _aborts(self.handler(init, None)):
            return {"error": "listen: abort in init"}
        idle_since = time.monotonic()
        while self.aborted is None:
            if self.step(idle_since):
                idle_since = time.monotonic()
            elif self.timeout and time.monotonic() >= idle_since + self.timeout:
                if _aborts(self.handler({"cmd": "timeout"}, None)):
                    return {"error": "listen: abort in timeout"}
                idle_since = time.monotonic()
        return self.aborted

    def step(self, idle_since: float) -> bool:
        """Wait for the next event and deal with it; say whether a request was served."""
        served = False
        for key, _ in self.selector.select(self.patience(idle_since)):
            connection: _Connection | None = key.data
            if connection is None:
                self.accept()
            elif connection in self.connections:
                served |= self.advance(connection)
            if self.aborted is not None:
                return True
        now = time.monotonic()
        for connection in [each for each in self.connections if each.deadline <= now]:
            self.drop(connection)
        return served

    def patience(self, idle_since: float) -> float | None:
        """Return how long nothing needs to be done, in seconds."""
        deadlines = [connection.deadline for connection in self.connections]
        if self.timeout:
            deadlines.append(idle_since + self.timeout)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def accept(self) -> None:
        try:
            sock, (address, _) = self.listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self.drop_oldest()
            return
        if len(self.connections) >= CONNECTIONS_MAX:
            self.drop_oldest()
        sock.setblocking(False)
        connection = _Connection(sock, address)
        self.connections.add(connection)
        self.selector.register(sock, selectors.EVENT_READ, connection)

    def advance(self, connection: _Connection) -> bool:
        """Do what a ready connection allows; say whether a request was served."""
        try:
            if connection.outgoing:
                self.write(connection)
            elif not connection.fill():
                self.drop(connection)
            elif not connection.draining:
                return self.serve(connection)
        except BlockingIOError:
            pass
        except OSError:
            self.drop(connection)
        return False

    def serve(self, connection: _Connection) -> bool:
        try:
            request = connection.request(self.limit)
        except (ValueError, RecursionError) as error:
            self.reply(connection, {"error": str(error)})
            return False
        if request is None:
            return False
        try:
            reply = self.handler(request, connection.address)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            reply = {"error": f"handler failed: {type(error).__name__}: {error}"}
        if _aborts(reply):
            self.aborted = reply
        elif reply is None:
            self.drop(connection)
        else:
            self.reply(connection, reply)
        return True

    def reply(self, connection: _Connection, reply: Any) -> None:
        try:
            data = json.dumps(reply).encode()
        except (TypeError, ValueError, RecursionError) as error:
            data = json.dumps({"error": f"json encoding error {error}"}).encode()
        if len(data) > self.limit:
            data = json.dumps({"error": f"reply of {len(data)} bytes is too long"}).encode()
        connection.outgoing = memoryview(_LENGTH.pack(len(data)) + data)
        connection.deadline = time.monotonic() + WRITE_TIMEOUT_S
        self.selector.modify(connection.sock, selectors.EVENT_WRITE, connection)
        self.write(connection)

    def write(self, connection: _Connection) -> None:
        sent = connection.sock.send(connection.outgoing)
        connection.outgoing = connection.outgoing[sent:]
        connection.deadline = time.monotonic() + WRITE_TIMEOUT_S
        if not connection.outgoing:
            connection.sock.shutdown(socket.SHUT_WR)
            connection.draining = True
            connection.deadline = time.monotonic() + DRAIN_TIMEOUT_S
            self.selector.modify(connection.sock, selectors.EVENT_READ, connection)

    def drop(self, connection: _Connection) -> None:
        self.selector.unregister(connection.sock)
        self.connections.remove(connection)
        connection.sock.close()

    def drop_oldest(self) -> None:
        if self.connections:
            self.drop(min(self.connections, key=lambda each: each.deadline))

    def close(self) -> None:
        for connection in list(self.connections):
            self.drop(connection)
        self.selector.close()
        self.listener.close()


def _aborts(result: Any) -> bool:
    return isinstance(result, dict) and "abort" in result
