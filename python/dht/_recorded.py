"""A transport whose reads and writes a history records, whichever client uses it, and how often."""

import json
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from dht import _dht
from dht._json import loads
from dht._transport import Transport
from dht.errors import DidNotHappen
from dht.testing import History, Outcome

Result = TypeVar("Result")


class Recorder:
    """What the recorded transports of one cluster share."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.history = History(clock)
        self._idle: list[int] = []

    def begin(self, function: Literal["put", "get"], key: str, value: str | None) -> "Operation":
        """Record that an operation begins; the history's processes do one thing at a time."""
        try:
            process = self._idle.pop()
        except IndexError:
            process = self.history.process()
        return Operation(self, process, function, key, value)

    def idle(self, process: int) -> None:
        """Take back a process whose operation has certainly ended."""
        self._idle.append(process)


class Operation:
    """An operation that has begun."""

    def __init__(
        self,
        recorder: Recorder,
        process: int,
        function: Literal["put", "get"],
        key: str,
        value: str | None,
    ) -> None:
        self._recorder = recorder
        self._process = process
        self._function: Literal["put", "get"] = function
        self._name = str(loads(key))
        self._value = None if value is None else _plain(value)
        recorder.history.record(process, "invoke", function, self._name, self._value)

    def end(self, result: object) -> None:
        """Record how it ended: an exception, the text that was read, or anything for a write."""
        outcome: Outcome = "ok"
        value = self._value
        if isinstance(result, BaseException):
            outcome = _outcome_of(result, self._function)
        elif self._function == "get":
            value = None if result is None else _plain(str(result))
        self._recorder.history.record(self._process, outcome, self._function, self._name, value)
        if outcome != "info":
            self._recorder.idle(self._process)


def _outcome_of(error: BaseException, function: Literal["put", "get"]) -> Outcome:
    if function == "get":
        return "fail"  # it read nothing, whatever went wrong
    return "fail" if isinstance(error, DidNotHappen) else "info"


def _plain(text: str) -> str:
    """Return JSON in one form, however it came back."""
    return json.dumps(loads(text))


class RecordedTransport:
    """Carries calls as another transport does, and records what `setr` and `getr` do."""

    def __init__(self, transport: Transport, recorder: Recorder) -> None:
        self._transport = transport
        self._recorder = recorder

    @property
    def real(self) -> bool:
        """Whether time passes by itself, and threads may wait at once."""
        return self._transport.real

    def call_server(self, request: str) -> str:
        """Send a request to the client's server and return its reply."""
        return self._transport.call_server(request)

    def call_viewleader(self, request: str) -> str:
        """Send a request to the view leader and return its reply."""
        return self._transport.call_viewleader(request)

    def call_address(self, address: str, request: str, timeout_ms: int | None = None) -> str:
        """Send a request to the server at `HOST:PORT` and return its reply."""
        return self._transport.call_address(address, request, timeout_ms)

    def setr(self, key: str, value: str) -> list[str]:
        """Store a value; return the addresses of the servers that hold it."""
        operation = self._recorder.begin("put", key, value)
        try:
            servers = self._transport.setr(key, value)
        except BaseException as error:
            operation.end(error)
            raise
        operation.end(servers)
        return servers

    def getr(self, key: str) -> str | None:
        """Return the last acknowledged value; `None` where there is none."""
        operation = self._recorder.begin("get", key, None)
        try:
            value = self._transport.getr(key)
        except BaseException as error:
            operation.end(error)
            raise
        operation.end(value)
        return value

    def setr_many(self, pairs: Sequence[tuple[str, str]]) -> list[list[str] | _dht.DhtError]:
        """Store many values at once; return what became of each, in their order."""
        operations = [self._recorder.begin("put", key, value) for key, value in pairs]
        return _all(operations, lambda: self._transport.setr_many(pairs))

    def getr_many(self, keys: Sequence[str]) -> list[str | _dht.DhtError | None]:
        """Read many names at once; return what became of each, in their order."""
        operations = [self._recorder.begin("get", key, None) for key in keys]
        return _all(operations, lambda: self._transport.getr_many(keys))

    def sleep(self, seconds: float) -> None:
        """Let time pass; a signal ends it."""
        self._transport.sleep(seconds)

    def monotonic(self) -> float:
        """Return the time of a clock that never goes back."""
        return self._transport.monotonic()

    def close(self) -> None:
        """Close what is open. Closing again does nothing."""
        self._transport.close()


def _all(operations: list[Operation], call: Callable[[], list[Result]]) -> list[Result]:
    try:
        results = call()
    except BaseException as error:
        for operation in operations:
            operation.end(error)
        raise
    for operation, result in zip(operations, results, strict=True):
        operation.end(result)
    return results
