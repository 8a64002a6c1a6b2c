"""What the original programs share: framing, hashing, a loop that serves one request at a time."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

MESSAGE_BYTES_MAX = 8192
CONNECT_SECONDS = 5.0

Message = dict[str, Any]
Handler = Callable[[Message, str], Message]


def hash_number(text: str) -> int:
    """The place of `text` on the ring."""
    return int(hashlib.sha1(text.encode("utf-8")).hexdigest(), 16) % 10000


def send(sock: socket.socket, message: Message) -> None:
    """Sends one message."""
    body = json.dumps(message).encode("ascii")
    sock.sendall(struct.pack("!i", len(body)) + body)


def receive(sock: socket.socket) -> Message:
    """Receives one message; anything that is not one gives a dict with `error`."""
    header = _read(sock, 4)
    if len(header) < 4:
        return {"error": "incomplete header"}
    (length,) = struct.unpack("!i", header)
    if not 0 < length < MESSAGE_BYTES_MAX:
        return {"error": f"invalid message length {length}"}
    body = _read(sock, length)
    if len(body) < length:
        return {"error": "incomplete message"}
    try:
        message = json.loads(body)
    except ValueError as error:
        return {"error": str(error)}
    return message if isinstance(message, dict) else {"error": "message is not a dict"}


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            break
        data += more
    return data


def ask(address: str, message: Message) -> Message:
    """One request on a connection of its own; whatever goes wrong gives a dict with `error`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS) as sock:
            if sock.getsockname() == sock.getpeername():
                return {"error": f"can't connect to {host}"}
            send(sock, message)
            return receive(sock)
    except OSError:
        return {"error": f"can't connect to {host}"}


def serve(port: int, handler: Handler, idle: Callable[[], None], idle_seconds: float) -> None:
    """Serves requests one after another for ever; calls `idle` at start and between requests."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen(20)
        print(f"Trying to listen on {listener.getsockname()[1]}...", flush=True)
        listener.settimeout(idle_seconds)
        handler({"cmd": "init", "port": listener.getsockname()[1]}, "")
        last_idle = time.monotonic()
        idle()
        while True:
            try:
                sock, peer = listener.accept()
            except TimeoutError:
                pass
            else:
                with sock:
                    _serve_one(sock, peer[0], handler)
            if time.monotonic() - last_idle >= idle_seconds:
                last_idle = time.monotonic()
                idle()


def _serve_one(sock: socket.socket, peer: str, handler: Handler) -> None:
    try:
        message = receive(sock)
        if "error" in message or "cmd" not in message:
            return
        send(sock, handler(message, peer))
    except (OSError, KeyError) as error:
        print(f"Dropped a request of {peer}: {error!r}", flush=True)
