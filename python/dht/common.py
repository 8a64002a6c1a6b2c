"""The original's `common` module: framed JSON messages over TCP, and a small server for them.

Nothing here raises for what a network or a peer can do: an error comes back as a dict with
`error`. Pure Python on plain sockets, so that what tools build on it stays easy to follow; the
product's own traffic takes the native module.
"""

import hashlib
import json
import socket
import struct
from typing import Any

from dht._limits import MESSAGE_BYTES_MAX, message_bytes_max
from dht._listen import listen

__all__ = [
    "MAX_MESSAGE_SIZE",
    "MESSAGE_BYTES_MAX",
    "hash_number",
    "listen",
    "receive",
    "send",
    "send_receive",
    "send_receive_range",
]

MAX_MESSAGE_SIZE = 8192
"""From this many bytes on an *original* program refuses a message.

Not the limit in force here, which is `MESSAGE_BYTES_MAX` or DHT_MAX_MESSAGE_SIZE: our servers take
longer messages, and a long reply of the original's own, which its own client refused, is received.
"""

CONNECT_TIMEOUT_S = 5
"""How long a connection, and each wait for bytes on it, may take."""

_LENGTH = struct.Struct("!i")
_SLOTS = 10000


def send(sock: socket.socket, message: Any) -> dict[str, Any]:
    """Send one message.

    Args:
        sock: A connected stream socket.
        message: Anything that `json.dumps` takes.

    Returns:
        `{}`, or a dict with `error`.
    """
    try:
        data = json.dumps(message).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return {"error": f"json encoding error {error}"}
    if len(data) > message_bytes_max():
        return {"error": f"maximum message size exceeded: {len(data)} bytes"}
    try:
        sock.sendall(_LENGTH.pack(len(data)) + data)
    except OSError as error:
        return {"error": f"can't send because {error}"}
    return {}


def receive(sock: socket.socket) -> dict[str, Any]:
    """Wait for one message.

    Args:
        sock: A connected stream socket; its timeout bounds each wait for bytes.

    Returns:
        The message, or a dict with `error`.
    """
    try:
        header = _receive_exactly(sock, _LENGTH.size)
        if header is None:
            return {"error": "can't receive"}
        (length,) = _LENGTH.unpack(header)
        if not 0 < length <= message_bytes_max():
            return {"error": f"message length {length} is out of range"}
        data = _receive_exactly(sock, length)
    except OSError as error:
        return {"error": f"can't receive because {error}"}
    if data is None:
        return {"error": "incomplete message"}
    try:
        message = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        return {"error": f"json encoding error {error}"}
    if not isinstance(message, dict):
        return {"error": "message is not a JSON object"}
    return message


def send_receive(host: str, port: int | str, message: Any) -> dict[str, Any]:
    """Send one request on a connection of its own and wait for the reply.

    Args:
        host: A name or an IPv4 address.
        port: A port number, also as text.
        message: Anything that `json.dumps` takes.

    Returns:
        The reply, or a dict with `error`.
    """
    try:
        number = int(port)
        if not 0 < number < 1 << 16:  # else the system would take a part of it for the port
            return {"error": f"can't connect to {host}:{port} because there is no such port"}
        sock = _connect(host, number)
    except (OSError, OverflowError, TypeError, ValueError) as error:
        return {"error": f"can't connect to {host}:{port} because {error}"}
    with sock:
        sent = send(sock, message)
        return sent if "error" in sent else receive(sock)


def send_receive_range(host: str, port_low: int, port_high: int, message: Any) -> dict[str, Any]:
    """Try ports in order until one gives a reply without `error`.

    Args:
        host: A name or an IPv4 address.
        port_low: The first port.
        port_high: One past the last port.
        message: Anything that `json.dumps` takes.

    Returns:
        That reply, or `{"error": "can't connect to HOST"}`.
    """
    for port in range(port_low, port_high):
        reply = send_receive(host, port, message)
        if "error" not in reply:
            return reply
    return {"error": f"can't connect to {host}"}


def hash_number(text: Any) -> int:
    """Return the ring position of a name.

    Args:
        text: A string, bytes, or anything else, which stands for its `str`.

    Returns:
        A number from 0 to 9999.

    Example:
        >>> hash_number("apple")
        6784
    """
    data = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogatepass")
    return int(hashlib.sha1(data, usedforsecurity=False).hexdigest(), 16) % _SLOTS


def _connect(host: str, port: int) -> socket.socket:
    """Connect over IPv4, and never to oneself.

    The ports of servers lie in the range that systems draw local ports from, so a connection to a
    port that nobody serves can meet its own end.
    """
    failure: OSError = ConnectionRefusedError(f"no IPv4 address of {host}")
    for *_, address in socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(CONNECT_TIMEOUT_S)
            sock.connect(address)
            if sock.getsockname() != sock.getpeername():
                return sock
            failure = ConnectionRefusedError("nobody listens there")
        except OSError as error:
            failure = error
        sock.close()
    raise failure


def _receive_exactly(sock: socket.socket, count: int) -> bytes | None:
    """Return `count` bytes, or `None` where the peer closes before them."""
    data = bytearray()
    while len(data) < count:
        part = sock.recv(min(count - len(data), 1 << 16))
        if not part:
            return None
        data += part
    return bytes(data)
