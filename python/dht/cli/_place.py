"""Finds the server that a person means in the view."""

import socket

from dht.status import Status


def find(status: Status, text: str) -> str:
    """Return the address in the view that stands for `HOST:PORT`; the text itself where none does.

    Args:
        status: The ring.
        text: What was typed, such as `localhost:38000`.
    """
    known = [server.address for server in status.servers]
    if text in known:
        return text
    host, _, port = text.rpartition(":")
    if not host:
        raise ValueError(f"{text!r} names no port; give HOST:PORT as `dht status` lists it")
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except OSError:
        return text
