"""The command `dht` and the signals that a supervisor sends, for tests."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence

import dht
from dht import testing
from harness import Program, run, wait_until
from rings import Ring


def command(*args: str) -> list[str]:
    """The command line that runs `dht` with this interpreter."""
    return [sys.executable, "-m", "dht", *args]


def ask(ring: Ring, *args: str, seconds: float = 60.0) -> tuple[str, str, int]:
    """Runs `dht` against a ring; returns its output, its errors and its status."""
    name, *rest = args
    done = run(command(name, "--viewleader", ring.leader.address, *rest), seconds)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr, done.returncode


def terminate(program: Program) -> None:
    """Sends what a supervisor sends."""
    program.process.send_signal(signal.SIGTERM)


class Load:
    """Clients that write and read until they are told to stop; no call may fail."""

    def __init__(self, address: str, names: Sequence[str], threads: int = 3) -> None:
        """Starts them."""
        self.history = testing.History()
        self.errors: list[BaseException] = []
        self.written = 0
        self._names = names
        self._address = address
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        with dht.Client(self._address, timeout=15) as client:
            recorded = self.history.client(client)
            count = 0
            while not self._ended.is_set():
                name = self._names[count % len(self._names)]
                try:
                    recorded.setr(name, f"{number}-{count}")
                    recorded.getr(name)
                except Exception as error:
                    self.errors.append(error)
                    return
                count += 1
                self.written += 1

    def stop(self) -> None:
        """Ends them; fails where a call has failed, or what they saw is not linearizable."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        assert self.errors == []
        assert self.history.check() >= 2 * self.written > 0

    def goes_on(self) -> None:
        """Waits until more was written than before."""
        before = self.written
        wait_until(lambda: self.errors or self.written > before + 20, what="writes that go on")
