"""A client of the wire made of `struct`, `json` and `socket` alone: it shares no code with dht."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, Self

HEADER = struct.Struct("!i")
ANSWER_SECONDS = 10.0

Reply = dict[str, Any]


class Closed(Exception):
    """The peer closed the connection where a frame was expected."""


def frame(text: str) -> bytes:
    """Returns `text` with its length before it."""
    body = text.encode("utf-8")
    return HEADER.pack(len(body)) + body


class Connection:
    """One TCP connection that sends and reads frames, or whatever bytes a test wants."""

    def __init__(self, port: int, source: str = "127.0.0.1", host: str = "127.0.0.1") -> None:
        """Connects to `host:port` from the loopback address `source`."""
        self.sock = socket.create_connection((host, port), ANSWER_SECONDS, (source, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send_bytes(self, data: bytes) -> None:
        """Sends `data` as it is."""
        self.sock.sendall(data)

    def send_text(self, text: str) -> None:
        """Sends a frame of `text`."""
        self.send_bytes(frame(text))

    def read_text(self, seconds: float = ANSWER_SECONDS) -> str:
        """Reads one frame; raises `Closed` at the end of the stream, `TimeoutError` if late."""
        self.sock.settimeout(seconds)
        (length,) = HEADER.unpack(self._read_exactly(HEADER.size))
        return self._read_exactly(length).decode("ascii")

    def is_closed(self, seconds: float = ANSWER_SECONDS) -> bool:
        """Whether the peer closes within `seconds`, without another byte."""
        self.sock.settimeout(seconds)
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def half_close(self) -> None:
        """Says that nothing more will be sent; replies can still be read."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes the connection."""
        self.sock.close()

    def _read_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self.sock.recv(count - len(data))
            except ConnectionError as error:
                raise Closed(str(error)) from error
            if not more:
                raise Closed(f"closed after {len(data)} of {count} bytes")
            data += more
        return data


def ask_text(port: int, text: str, source: str = "127.0.0.1", *, host: str = "127.0.0.1") -> str:
    """Sends one frame on a connection of its own and returns the reply's text."""
    with Connection(port, source, host) as connection:
        connection.send_text(text)
        return connection.read_text()


def ask(
    port: int,
    message: Mapping[str, Any],
    source: str = "127.0.0.1",
    *,
    host: str = "127.0.0.1",
) -> Reply:
    """Sends one request as the original client does and returns the reply."""
    reply = json.loads(ask_text(port, json.dumps(message), source, host=host))
    assert isinstance(reply, dict), reply
    return reply
