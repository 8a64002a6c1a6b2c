"""Clients that read and write a few keys all the time, each value once, and record everything."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dht
from dht.testing import History, RecordedClient
from harness import wait_until

PATIENCE_SECONDS = 4.0
IMPATIENCE_SECONDS = 0.3
"""Every other client soon gives up, and goes on while nobody knows what became of its write."""


@dataclass(frozen=True)
class Failure:
    """An operation of a patient client that ended with an error."""

    called: float
    """When it began, of `time.monotonic`."""
    what: str
    """Who wanted what, and which error it was."""


class Worker:
    """One client on a thread of its own."""

    def __init__(self, load: Workload, number: int, seed: str) -> None:
        """Starts at once."""
        self.load = load
        self.number = number
        self.rng = random.Random(f"{seed} client {number}")
        self.patient = number % 2 == 0
        # Who never writes has no reason to ask who is primary now: it would read stale values.
        self.write_share = 0.0 if number % 4 == 2 else 0.6
        self.calls: list[float] = []
        """When each operation that has ended began."""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        timeout = PATIENCE_SECONDS if self.patient else IMPATIENCE_SECONDS
        try:
            with dht.Client(self.load.viewleader, timeout=timeout) as client:
                recorded = self.load.history.client(client)
                while self.load.may_go_on():
                    self._one(recorded)
                    self.load.ending.wait(self.rng.uniform(0, self.load.think_seconds))
        except BaseException as error:
            self.load.broken.append(f"client {self.number}: {error!r}")
            raise
        finally:
            self.load.leave()

    def _one(self, client: RecordedClient) -> None:
        # Many meet at a few keys; the others show what stays when nobody writes them again.
        busy = self.rng.random() < 0.5
        key = self.rng.choice(self.load.keys[:5] if busy else self.load.keys)
        writes = self.rng.random() < self.write_share
        called = time.monotonic()
        try:
            if writes:
                client.setr(key, f"{self.number}.{len(self.calls)}")
            else:
                client.getr(key)
        except KeyError:
            pass
        except dht.DhtError as error:
            what = f"client {self.number} {'setr' if writes else 'getr'} {key}: {error!r}"
            if self.patient:
                self.load.failures.append(Failure(called, what))
        finally:
            self.calls.append(called)
            self.load.rest()


class Workload:
    """All clients; they can be held between two operations."""

    def __init__(
        self,
        viewleader: str,
        keys: Sequence[str],
        clients: int,
        *,
        seed: str,
        think_seconds: float = 0.02,
    ) -> None:
        """Starts the clients."""
        self.viewleader = viewleader
        self.keys = list(keys)
        self.think_seconds = think_seconds
        self.history = History()
        self.failures: list[Failure] = []
        self.broken: list[str] = []
        """Clients that ended, which none should."""
        self.ending = threading.Event()
        self._held = False
        self._busy = 0
        self._change = threading.Condition()
        self.workers = [Worker(self, number, seed) for number in range(clients)]

    def stop(self) -> None:
        """Ends all clients."""
        self.ending.set()
        with self._change:
            self._change.notify_all()
        for worker in self.workers:
            worker.thread.join()

    def may_go_on(self) -> bool:
        """Waits while the clients are held; false at the end. Whoever may go on is busy."""
        with self._change:
            self._change.wait_for(lambda: not self._held or self.ending.is_set())
            if self.ending.is_set():
                return False
            self._busy += 1
            return True

    def rest(self) -> None:
        """A client has ended its operation."""
        with self._change:
            self._busy -= 1
            self._change.notify_all()

    def leave(self) -> None:
        """A client has ended."""
        with self._change:
            self._change.notify_all()

    def hold(self) -> None:
        """Lets every client end its operation and begin none."""
        with self._change:
            self._held = True
            done = self._change.wait_for(lambda: self._busy == 0, 10 * PATIENCE_SECONDS)
        assert done, "clients did not end their operations"

    def release(self) -> None:
        """Lets the clients go on."""
        with self._change:
            self._held = False
            self._change.notify_all()

    def served(self, rounds: int, seconds: float = 60.0) -> None:
        """Waits until each client has done `rounds` more operations; fails on any error.

        An impatient client may have one: the machine may be busy for longer than it waits.
        """
        since = time.monotonic()

        def failed() -> list[str]:
            return [each.what for each in list(self.failures) if each.called >= since]

        def done() -> bool:
            assert not failed(), f"not served although nothing was wrong any more: {failed()}"
            enough = (since_then(worker, since) >= rounds for worker in self.workers)
            return bool(self.broken) or all(enough)

        wait_until(done, seconds, f"{rounds} operations of each client")
        assert not self.broken, self.broken

    def final(self) -> dict[str, str | None]:
        """Reads every key once more, as a client like the others; the clients are held."""
        values: dict[str, str | None] = {}
        with dht.Client(self.viewleader, timeout=10) as client:
            recorded = self.history.client(client)
            for key in self.keys:
                try:
                    values[key] = json.dumps(recorded.getr(key))
                except KeyError:
                    values[key] = None
        return values


def since_then(worker: Worker, since: float) -> int:
    """How many operations a client has begun since then, and ended."""
    count = 0
    for called in reversed(worker.calls):
        if called < since:
            break
        count += 1
    return count
