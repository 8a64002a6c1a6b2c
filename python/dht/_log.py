"""The loggers `dht.viewleader` and `dht.server`, fed with what nodes of this process note.

Only nodes that start in a program that uses `logging` come here, so that `import dht` need not.
"""

import logging
import threading

from dht import _dht
from dht.cli._notes import lines

LOG_STOP_S = 1.0

_TAKE_MS = 60_000

_LEVELS = {
    "waiting": logging.WARNING,
    "lost": logging.ERROR,
    "not_handed_over": logging.ERROR,
    "heartbeat_failed": logging.WARNING,
    "lease_refused": logging.WARNING,
    "unreachable": logging.WARNING,
    "bad_frame": logging.WARNING,
}

# Without it, Python itself would print warnings that nobody has asked for.
logging.getLogger("dht").addHandler(logging.NullHandler())


class Reader:
    """Logs the notes of one node, on a thread that no program waits for."""

    def __init__(self, logger: logging.Logger, node: _dht.Node) -> None:
        self._logger = logger
        self._address = node.address
        self._listener = node.listen()
        self._thread = threading.Thread(target=self._run, name=f"dht-log-{node.port}", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait, `LOG_STOP_S` at most, until what the stopped node noted is logged."""
        if self._thread is not threading.current_thread():
            self._thread.join(LOG_STOP_S)

    def _run(self) -> None:
        try:
            while (notes := self._listener.take(_TAKE_MS)) is not None:
                if not _is_seen(self._logger):
                    continue
                for kind, text in notes:
                    level = _LEVELS.get(kind, logging.INFO)
                    if self._logger.isEnabledFor(level):
                        out, err = lines([(kind, text)], py2=False, quiet=False)
                        self._logger.log(level, "%s: %s", self._address, (out + err)[0])
        except RuntimeError as error:  # the node has failed
            self._logger.error("%s: %s", self._address, error)


def reader(name: str, node: _dht.Node) -> Reader:
    """Return a running reader for a node. It reads on while nobody sees it: handlers may come.

    Args:
        name: The logger's name.
        node: The node, just started.
    """
    return Reader(logging.getLogger(name), node)


def _is_seen(logger: logging.Logger) -> bool:
    """Whether the logger is on, and a handler is there that does something."""
    if not logger.isEnabledFor(logging.ERROR):
        return False
    at: logging.Logger | None = logger
    while at is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False
