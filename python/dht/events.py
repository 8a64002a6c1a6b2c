"""What happens on a running node, as typed events.

`ViewLeader.events` and `Server.events` give them. Each class has a `kind` of its own, so that
both `event.kind == "joined"` and `isinstance(event, Joined)` tell a type checker what it is.

They are the facts that the scripts print, of single requests only `print` and what was refused.
"""

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeAlias, final

from dht import _dht
from dht._json import loads

_SLICE_MS = 60_000  # of a wait without an end


@dataclass(frozen=True, slots=True)
class Joined:
    """The view leader took a server into the view.

    Attributes:
        address: The server's address.
        position: Its position on the ring.
        epoch: The epoch that began.
    """

    kind: ClassVar[Literal["joined"]] = "joined"
    address: str
    position: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The view leader removed a server from the view.

    Attributes:
        address: The server's address.
        reason: `lease expired`; `gone`, its process has ended; `restarted`; or `left` as planned.
        epoch: The epoch that began.
    """

    kind: ClassVar[Literal["failed"]] = "failed"
    address: str
    reason: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Moving:
    """Ranges of names have begun to move; the scripts print `Rebalancing...`."""

    kind: ClassVar[Literal["moving"]] = "moving"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long rebalance is; the scripts print `Rebalancing... 41%`.

    Attributes:
        percent: How much of what had to move is in place, 0 to 99. It falls where more has to.
    """

    kind: ClassVar[Literal["progress"]] = "progress"
    percent: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Every name is on its three servers; the scripts print `Rebalancing complete`."""

    kind: ClassVar[Literal["settled"]] = "settled"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Slots have no living holder, and wait for one to come back.

    Attributes:
        slots: How many slots.
        holders: The addresses of the servers of which any would do.
    """

    kind: ClassVar[Literal["waiting"]] = "waiting"
    slots: int
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """Slots start again empty: all that held them are gone, and the data with them.

    Attributes:
        slots: How many slots.
        holders: The addresses of those who held them.
    """

    kind: ClassVar[Literal["lost"]] = "lost"
    slots: int
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recovering:
    """The view leader was started again, and learns from the servers what they hold."""

    kind: ClassVar[Literal["recovering"]] = "recovering"


@dataclass(frozen=True, slots=True)
class HeartbeatFailed:
    """A heartbeat got no reply, or an error; the server goes on trying.

    Attributes:
        reason: What is wrong.
    """

    kind: ClassVar[Literal["heartbeat_failed"]] = "heartbeat_failed"
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseRefused:
    """The view leader did not renew a server's lease.

    Attributes:
        status: `retry` while another server has its address, `deny` where its lease has ended.
        address: The server's address, as far as it is known.
    """

    kind: ClassVar[Literal["lease_refused"]] = "lease_refused"
    status: str
    address: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The view leader removed a server because it cannot be reached at its address.

    Attributes:
        address: That address; `advertise` gives a server another.
    """

    kind: ClassVar[Literal["unreachable"]] = "unreachable"
    address: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """A server whose lease had ended joins again under a new identity.

    Attributes:
        requestor: The new identity.
    """

    kind: ClassVar[Literal["renamed"]] = "renamed"
    requestor: Any


@dataclass(frozen=True, slots=True)
class Leaving:
    """A server was asked to leave, and hands over what it holds."""

    kind: ClassVar[Literal["leaving"]] = "leaving"


@dataclass(frozen=True, slots=True)
class LeaderAway:
    """A server wants to leave, and for 3 s nobody listens where its view leader was."""

    kind: ClassVar[Literal["leader_away"]] = "leader_away"


@dataclass(frozen=True, slots=True)
class NotHandedOver:
    """A server leaves, and its data end with it: no other stays, and it has no `data_dir`.

    Attributes:
        keys: How many names end with it.
    """

    kind: ClassVar[Literal["not_handed_over"]] = "not_handed_over"
    keys: int


@dataclass(frozen=True, slots=True)
class Left:
    """A server that was asked to leave has left; others have its data, unless none stays."""

    kind: ClassVar[Literal["left"]] = "left"


@dataclass(frozen=True, slots=True)
class Printing:
    """Somebody asked a server to print words; the scripts print `Printing ...`.

    Attributes:
        words: The words, which are strings unless the sender is no client of ours.
    """

    kind: ClassVar[Literal["printing"]] = "printing"
    words: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class BadFrame:
    """A message was refused.

    Attributes:
        peer: The IP address of who sent it.
        reason: What is wrong with it.
    """

    kind: ClassVar[Literal["bad_frame"]] = "bad_frame"
    peer: str
    reason: str


Event: TypeAlias = (
    Joined
    | Failed
    | Moving
    | Progress
    | Settled
    | Waiting
    | Lost
    | Recovering
    | HeartbeatFailed
    | LeaseRefused
    | Unreachable
    | Renamed
    | Leaving
    | LeaderAway
    | NotHandedOver
    | Left
    | Printing
    | BadFrame
)
"""Any of the above."""

_MADE: dict[str, Callable[[dict[str, Any]], Event]] = {
    "joined": lambda note: Joined(note["addr"], note["position"], note["epoch"]),
    "failed": lambda note: Failed(note["addr"], note["why"], note["epoch"]),
    "rebalancing": lambda note: Moving(),
    "rebalancing_progress": lambda note: Progress(note["percent"]),
    "rebalancing_complete": lambda note: Settled(),
    "waiting": lambda note: Waiting(note["slots"], tuple(note["holders"])),
    "lost": lambda note: Lost(note["slots"], tuple(note["holders"])),
    "recovering": lambda note: Recovering(),
    "heartbeat_failed": lambda note: HeartbeatFailed(note["why"]),
    "lease_refused": lambda note: LeaseRefused(note["status"], note["addr"]),
    "unreachable": lambda note: Unreachable(note["addr"]),
    "renamed": lambda note: Renamed(note["requestor"]),
    "leaving": lambda note: Leaving(),
    "leader_away": lambda note: LeaderAway(),
    "not_handed_over": lambda note: NotHandedOver(note["keys"]),
    "left": lambda note: Left(),
    "printing": lambda note: Printing(tuple(note["words"])),
    "bad_frame": lambda note: BadFrame(note["peer_ip"], note["why"]),
}


def from_note(kind: str, text: str) -> Event:
    """Return the event of a note.

    Args:
        kind: The kind, as the native module gives it.
        text: The note's fields, a JSON object.
    """
    return _MADE[kind](loads(text))


@final
class Events:
    """The events of one node, in their order; an iterator that waits for the next one.

    It begins with the call of `events()`. Any number of them may be open on one node, and each
    gets every event. Threads that share one share its events: each event goes to one of them.

    Events that nobody takes are kept up to 20,000; no `printing` and `bad_frame`, which anybody can
    cause, are taken in behind 10,000. What is dropped so is counted in `missed`.

    As long as it is held, so is the node. `close`, or leaving `with`, ends it.
    """

    def __init__(self, node: object, listener: _dht.Listener, timeout: float | None) -> None:
        self._node = node
        self._listener = listener
        self._timeout_ms = None if timeout is None else max(0, round(timeout * 1000))
        self._ready: deque[Event] = deque()

    @property
    def missed(self) -> int:
        """How many events were dropped, because too many waited to be taken."""
        return self._listener.missed

    def __iter__(self) -> Self:
        """Return the iterator itself."""
        return self

    def __next__(self) -> Event:
        """Return the next event, and wait for it.

        Raises:
            StopIteration: The node has stopped, or `close` was called, and every event was taken.
            TimeoutError: No event came within the timeout. The iterator can be used again.
            RuntimeError: The node has failed, or this is a forked child.
        """
        while True:
            try:
                return self._ready.popleft()
            except IndexError:
                pass
            wait_ms = _SLICE_MS if self._timeout_ms is None else self._timeout_ms
            if not self._take(wait_ms):
                raise StopIteration
            if not self._ready and self._timeout_ms is not None:
                raise TimeoutError(f"no event within {self._timeout_ms / 1000:g} s")

    def pending(self) -> list[Event]:
        """Return the events that have come and were not taken, without waiting; empty for none.

        Raises:
            RuntimeError: The node has failed, or this is a forked child.

        Example:
            >>> [event.kind for event in events.pending()]
            ['joined', 'moving', 'settled']
        """
        taken: list[Event] = []
        while True:
            self._take(0)
            before = len(taken)
            with contextlib.suppress(IndexError):  # the end of the line
                while True:
                    taken.append(self._ready.popleft())
            if len(taken) == before:
                return taken

    def close(self) -> None:
        """Take in no further events; whoever waits goes on. Closing again does nothing."""
        self._listener.close()

    def __enter__(self) -> Self:
        """Return the iterator itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _take(self, wait_ms: int) -> bool:
        """Put what has come in line; whether more may come."""
        notes = self._listener.take(wait_ms)
        self._ready.extend(from_note(kind, text) for kind, text in notes or ())
        return notes is not None
