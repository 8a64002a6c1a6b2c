"""Parties that misbehave as a test wants: one that is silent, and a ring of one that is slow."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rawwire import HEADER, frame

Answer = Callable[[dict[str, Any]], "dict[str, Any] | None"]


@contextmanager
def silent() -> Iterator[str]:
    """An address where connections are accepted, and nothing is ever answered."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        yield f"127.0.0.1:{sock.getsockname()[1]}"


class FakeRing:
    """View leader and only server on one port; a value tells the name that it was read under.

    Attributes:
        address: `host:port`.
        requests: What came in.
    """

    def __init__(self, answer: Answer | None = None, delay_s: float = 0.0) -> None:
        """Listens.

        Args:
            answer: Gives the reply to a request to the server; `None` from it closes the
                connection. By default reads give `{"name": …}`.
            delay_s: Each reply waits a random time of at most this long.
        """
        self._answer = answer or self.reply
        self._delay_s = delay_s
        self._stop = threading.Event()
        self.requests: list[dict[str, Any]] = []
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FakeRing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for sock in [self._sock, *self._connections]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a good server answers."""
        if request["cmd"] == "dht_write":
            return {"status": "ok", "servers": [self.address], "since": [1, 1]}
        return {"status": "ok", "value": {"name": request["key"]}}

    def view(self) -> dict[str, Any]:
        """The view: this one alone."""
        extension = {
            "version": 1,
            "revision": 1,
            "settled": True,
            "servers": [["0.5", self.address, 100]],
            "ranges": [[0, 10000, 1, [0], [], False]],
        }
        return {"result": [[self.address, 100]], "epoch": 1, "dht": extension}

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._sock.accept()
                self._connections.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError, EOFError), sock, sock.makefile("rb") as stream:
            while header := stream.read(HEADER.size):
                (length,) = HEADER.unpack(header)
                request = json.loads(stream.read(length))
                self.requests.append(request)
                reply = self.view() if request["cmd"] == "query_servers" else self._answer(request)
                if reply is None:
                    sock.shutdown(socket.SHUT_RDWR)
                    return
                if self._delay_s:
                    self._stop.wait(random.uniform(0, self._delay_s))
                sock.sendall(frame(json.dumps(reply)))
