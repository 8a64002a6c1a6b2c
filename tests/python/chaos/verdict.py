"""What must hold after an episode: nothing lost, everything explained, everybody served."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dht
from chaos.cluster import Cluster
from chaos.workload import Workload
from harness import wait_until

SERVED_ROUNDS = 3


@dataclass(frozen=True)
class Put:
    """A write that was acknowledged, or one whose outcome nobody knows."""

    value: str
    called: int
    """The number of the event; so is the next."""
    returned: int | None
    """`None` where it was not acknowledged."""


def puts(lines: Iterable[str]) -> dict[str, list[Put]]:
    """The writes of each key that happened or may have happened."""
    begun: dict[int, tuple[int, Any]] = {}
    found: dict[str, list[Put]] = {}
    for number, line in enumerate(lines):
        event = json.loads(line)
        if event["f"] != "put":
            continue
        if event["type"] == "invoke":
            begun[event["process"]] = number, event
            continue
        called, call = begun.pop(event["process"])
        if event["type"] != "fail":
            returned = number if event["type"] == "ok" else None
            found.setdefault(call["key"], []).append(Put(call["value"], called, returned))
    for called, call in begun.values():
        found.setdefault(call["key"], []).append(Put(call["value"], called, None))
    return found


def lost(lines: Iterable[str], final: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Acknowledged writes that are certainly lost: the value at the end was written before them.

    Told by times alone, beside the checker and much plainer. A value at the end that nobody knows
    the outcome of, or that is the latest, proves no loss; the checker sees more.
    """
    gone: dict[str, list[str]] = {}
    for key, written in puts(lines).items():
        value = final[key]
        origin = next((put for put in written if put.value == value), None)
        assert value is None or origin is not None, f"{key} has {value}, which nobody wrote"
        acknowledged = [put for put in written if put.returned is not None]
        if value is None:
            later = acknowledged
        elif origin is not None and origin.returned is not None:
            later = [put for put in acknowledged if put.called > origin.returned]
        else:
            later = []
        if later:
            gone[key] = [put.value for put in later]
    return gone


def counts(lines: Iterable[str]) -> Counter[str]:
    """How many operations ended how, such as `put ok`."""
    events = (json.loads(line) for line in lines)
    return Counter(f"{each['f']} {each['type']}" for each in events if each["type"] != "invoke")


class Locks:
    """One lock that is held through every episode, and the ring's own."""

    def __init__(self, cluster: Cluster) -> None:
        """Takes the lock."""
        self.cluster = cluster
        self._restarts = cluster.leader_restarts
        self._generation = 0
        with dht.Client(cluster.viewleader) as client:
            assert client.lock_get("held", self._holder(), wait=False)

    def _holder(self) -> str:
        return f"holder {self._generation}"

    def check(self) -> None:
        """A lock has one holder, until a view leader is started again that has forgotten it."""
        restarted = self.cluster.leader_restarts > self._restarts
        forgotten = restarted and self.cluster.data is None
        self._restarts = self.cluster.leader_restarts
        with dht.Client(self.cluster.viewleader) as client:
            assert client.lock_get("held", "rival", wait=False) == forgotten
            assert client.lock_release("held", "rival") == forgotten
            if forgotten:
                self._generation += 1
            assert client.lock_get("held", self._holder(), wait=False)
            # Granted only while nothing moves.
            assert client.lock_get("rebalancing", "verdict", wait=False)
            assert client.lock_release("rebalancing", "verdict")


def settle_copies(cluster: Cluster, load: Workload) -> dict[str, str | None]:
    """Waits until all keys are on exactly their servers with one value; returns the values.

    The clients are held, but a write that one of them was not told of may still happen.
    """
    wrong: dict[str, Any] = {}

    def settled() -> dict[str, str | None]:
        wrong.clear()
        final = load.final()
        wrong.update(cluster.misplaced(final))
        return {} if wrong else final

    try:
        return wait_until(settled, what="equal copies")
    except AssertionError as error:
        raise AssertionError(f"{error}; {json.dumps(wrong)}; {cluster.stats()}") from None


def check(cluster: Cluster, load: Workload, locks: Locks) -> None:
    """Fails unless all is well. The faults have ended; the clients go on before and after."""
    cluster.wait_settled()
    load.served(SERVED_ROUNDS)
    load.hold()
    final = settle_copies(cluster, load)
    lines = load.history.lines()
    gone = lost(lines, final)
    assert not gone, f"acknowledged writes are lost: {gone}"
    load.history.check()
    locks.check()
    load.release()
