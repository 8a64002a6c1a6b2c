"""A TCP relay that lets only so many bytes a second through."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

PIECE_BYTES = 16_384


class SlowLink:
    """Takes connections at `address` and passes them on to `target`, once that is known.

    Args:
        bytes_per_second: How much goes to the target, on each connection. Answers are not held up.
    """

    def __init__(self, bytes_per_second: float) -> None:
        """Listens."""
        self._rate = bytes_per_second
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target: int | None = None
        self._known = threading.Event()
        self._stopped = threading.Event()
        self._sockets: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def point(self, port: int) -> None:
        """Says where connections go."""
        self._target = port
        self._known.set()

    def open_up(self) -> None:
        """Lets everything through from now on."""
        self._stopped.set()

    def __enter__(self) -> Self:
        """The link itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every connection."""
        self.open_up()
        self._known.set()
        for sock in [self._listener, *self._sockets]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                incoming, _ = self._listener.accept()
                self._known.wait()
                outgoing = socket.create_connection(("127.0.0.1", self._target or 0))
            except OSError:
                return
            self._sockets += [incoming, outgoing]
            for source, sink, slow in ((incoming, outgoing, True), (outgoing, incoming, False)):
                args = (source, sink, slow)
                threading.Thread(target=self._pass_on, args=args, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                sink.sendall(piece)
                if slow:
                    self._stopped.wait(len(piece) / self._rate)
            sink.shutdown(socket.SHUT_WR)
