"""Whether a ring kept its word: record what clients saw, and have it judged.

A history is what clients asked for and what they were told. It is *linearizable* where every
operation can be given one instant between its call and its return such that each read gives what
the last write before it wrote. `setr` and `getr` promise that; this module holds them to it.

Example:
    >>> import dht
    >>> from dht.testing import History
    >>> history = History()
    >>> with dht.ViewLeader() as leader, dht.Server(leader.address):
    ...     with dht.Client(leader.address) as client:
    ...         recorded = history.client(client)
    ...         recorded.setr("apple", 1)
    ...         recorded.getr("apple")
    1
    1
    >>> history.check()
    2
"""

import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from dht import _dht

STEPS_MAX: Final = 2_000_000
"""How long the checker searches for each key, in operations put in their place: about a second."""

Outcome = Literal["ok", "fail", "info"]


class NotLinearizable(AssertionError):
    """The history cannot be explained; the text shows a small part of it that cannot."""


class Undecided(Exception):
    """The search was given up before it had an answer. Give every write a value of its own."""


def check_linearizable(lines: str | Iterable[str], *, steps_max: int = STEPS_MAX) -> int:
    """Check that a history is linearizable.

    The GIL is released during the search. Ctrl-C waits for its end.

    Args:
        lines: The events in the order in which they happened, each a JSON object such as
            `{"at": 3, "process": 0, "type": "invoke", "f": "put", "key": "k", "value": "v"}`.
            `at` is a whole number that never falls; `process` a whole number, which does one
            thing at a time; `type` is `invoke`, then `ok` (done), `fail` (certainly not done) or
            `info` (nobody knows); `f` is `put`, `get` or `erase`; `value` is a string: of a `put`,
            what it writes, on both lines; of the `ok` of a `get`, what it read, or `null` for
            nothing.
            Empty lines and lines that begin with `#` are remarks.
        steps_max: How long to search for each key.

    Returns:
        How many operations the history has.

    Raises:
        NotLinearizable: It is not; the text says why.
        Undecided: `steps_max` was too few.
        ValueError: A line is no event, or cannot follow those before it; the text says which.

    Example:
        >>> check_linearizable('''
        ... {"at": 1, "process": 0, "type": "invoke", "f": "put", "key": "k", "value": "v"}
        ... {"at": 2, "process": 0, "type": "ok", "f": "put", "key": "k", "value": "v"}
        ... {"at": 3, "process": 0, "type": "invoke", "f": "get", "key": "k"}
        ... {"at": 4, "process": 0, "type": "ok", "f": "get", "key": "k", "value": "v"}
        ... ''')
        2
    """
    text = lines if isinstance(lines, str) else "\n".join(line.rstrip("\n") for line in lines)
    operations, verdict, why = _dht.judge_history(text, steps_max)
    if verdict == "violation":
        raise NotLinearizable(why)
    if verdict == "undecided":
        raise Undecided(why)
    return operations


class ReplicatedClient(Protocol):
    """What a history can record: `dht.Client`, or anything that has its `setr` and `getr`."""

    def setr(self, name: str, value: Any, /) -> int:
        """Store a value."""
        ...

    def getr(self, name: str, /) -> Any:
        """Return the last acknowledged value."""


class History:
    """Records operations of any number of threads, each with its call, its return and its end.

    Times are microseconds since the history began.

    Args:
        clock: What gives the time, in seconds, and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._processes = 0

    def client(self, client: ReplicatedClient) -> "RecordedClient":
        """Return a client whose `setr` and `getr` are recorded; each thread needs its own."""
        return RecordedClient(self, client)

    def check(self, *, steps_max: int = STEPS_MAX) -> int:
        """Check what was recorded so far; as `check_linearizable`."""
        return check_linearizable(self.lines(), steps_max=steps_max)

    def lines(self) -> list[str]:
        """Return the events so far, one JSON object a line."""
        with self._lock:
            return list(self._lines)

    def save(self, path: Path) -> None:
        """Write the events so far to a file that `check_linearizable` can read again."""
        path.write_text("".join(f"{line}\n" for line in self.lines()), encoding="utf-8")

    def process(self) -> int:
        """Return the number of a process that has done nothing yet."""
        with self._lock:
            self._processes += 1
            return self._processes - 1

    def record(
        self,
        process: int,
        kind: Literal["invoke"] | Outcome,
        function: Literal["put", "get"],
        key: str,
        value: str | None,
    ) -> None:
        r"""Add an event that happens now. Lone surrogates of a key are written as `\ud800`."""
        key = key.encode("utf-8", "backslashreplace").decode("utf-8")
        event: dict[str, Any] = {"at": 0, "process": process, "type": kind}
        event |= {"f": function, "key": key, "value": value}
        with self._lock:
            event["at"] = round((self._clock() - self._began) * 1_000_000)
            self._lines.append(json.dumps(event, separators=(",", ":")))


class RecordedClient:
    """A client whose operations a history records; values stand there as JSON.

    It does one thing at a time, so it belongs to one thread.
    """

    def __init__(self, history: History, client: ReplicatedClient) -> None:
        self._history = history
        self._client = client
        self._process = history.process()

    def setr(self, name: str, value: Any) -> int:
        """Store a value; returns and raises what the client does."""
        text = json.dumps(value)
        self._history.record(self._process, "invoke", "put", name, text)
        outcome: Outcome = "info"
        try:
            servers = self._client.setr(name, value)
            outcome = "ok"
        except _dht.OutcomeUnknown:
            raise
        except _dht.DhtError:
            # Every other error of the ring says that it did not happen.
            outcome = "fail"
            raise
        finally:
            self._end(outcome, "put", name, text)
        return servers

    def getr(self, name: str) -> Any:
        """Return the last acknowledged value; returns and raises what the client does."""
        self._history.record(self._process, "invoke", "get", name, None)
        outcome: Outcome = "fail"
        text: str | None = None
        try:
            value = self._client.getr(name)
            outcome, text = "ok", json.dumps(value)
        except KeyError:
            outcome = "ok"
            raise
        finally:
            self._end(outcome, "get", name, text)
        return value

    def _end(
        self, outcome: Outcome, function: Literal["put", "get"], name: str, text: str | None
    ) -> None:
        self._history.record(self._process, outcome, function, name, text)
        if outcome == "info":
            # What is in doubt may still happen; whoever goes on is somebody else.
            self._process = self._history.process()
