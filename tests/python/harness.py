"""Real processes for tests: start, wait, stop, always by their own process id."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import rawwire

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
GOLDEN = ROOT / "tests" / "golden"
TESTS = Path(__file__).resolve().parent

DEADLINE_SECONDS = 20.0
POLL_SECONDS = 0.02
T = TypeVar("T")
LISTENING = re.compile(r"isten\w* on (?:\S*:)?([1-9]\d*)")


def wait_until(cond: Callable[[], T], deadline: float = DEADLINE_SECONDS, what: str = "") -> T:
    """Returns the first true result of `cond`; fails after `deadline` seconds without one."""
    end = time.monotonic() + deadline
    pause = threading.Event()
    while True:
        result = cond()
        if result:
            return result
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline} s: {what or cond!r} (last: {result!r})")
        pause.wait(POLL_SECONDS)


def clean_env(**extra: str) -> dict[str, str]:
    """The environment without settings that would change a script's behaviour, plus `extra`.

    Python's output stays buffered as it is by default: lines must arrive at once all the same.
    """
    drop = ("DHT_", "PYTHONUNBUFFERED")
    env = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return env | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "100", "LC_ALL": "C.UTF-8"} | extra


class Program:
    """A running program whose output lines are collected as they arrive."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Starts `argv`."""
        self.argv = list(argv)
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=dict(env) if env is not None else clean_env(),
            cwd=TESTS,
        )
        assert self.process.stdout and self.process.stderr
        self._readers = [
            _read_lines(self.process.stdout, self.lines),
            _read_lines(self.process.stderr, self.errors),
        ]

    @property
    def port(self) -> int:
        """The port that the program says it listens on; waits for the line."""

        def printed() -> int | None:
            assert self.alive() or self.lines, f"{self.argv} ended: {self.errors}"
            found = [LISTENING.search(line) for line in list(self.lines)]
            return next((int(match[1]) for match in reversed(found) if match), None)

        port = wait_until(printed, what=f"{self.argv} to print its port")
        assert port is not None
        return port

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self.port}"

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def saw(self, text: str) -> bool:
        """Whether a line with `text` has been printed to standard output or standard error."""
        return any(text in line for line in [*self.lines, *self.errors])

    def wait_line(self, text: str, deadline: float = DEADLINE_SECONDS) -> None:
        """Waits for a printed line that holds `text`."""
        wait_until(lambda: self.saw(text), deadline, f"line {text!r} of {self.argv}")

    def pause(self) -> None:
        """Stops the process, which notices nothing; returns once each of its threads stands."""
        assert self.alive(), f"{self.argv} has ended"
        self.process.send_signal(signal.SIGSTOP)

        def stands() -> bool:
            pid, status = os.waitpid(self.process.pid, os.WUNTRACED | os.WNOHANG)
            return pid > 0 and os.WIFSTOPPED(status)

        wait_until(stands, what=f"{self.argv} to stand")

    def resume(self) -> None:
        """Lets a paused process go on."""
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pauses the process for a while: its connections stay, its answers do not come."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def interrupt(self) -> int:
        """Sends what Ctrl-C sends and returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.wait(10)

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Waits for the end and returns the exit status."""
        status = self.process.wait(seconds)
        self._finish()
        return status

    def kill(self) -> None:
        """Ends the process the hard way; harmless when it has ended."""
        self.process.kill()
        self.process.wait()
        self._finish()

    def _finish(self) -> None:
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


def _read_lines(stream: IO[str], into: list[str]) -> threading.Thread:
    def run() -> None:
        for line in stream:
            into.append(line.rstrip("\n"))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def script(name: str, *args: str) -> list[str]:
    """The command line that runs one of the three scripts with this interpreter."""
    return [sys.executable, str(SCRIPTS / name), *args]


def original(name: str, *args: str) -> list[str]:
    """The command line that runs a stand-in of one of the original scripts."""
    return [sys.executable, "-m", f"originals.{name}", *args]


def limited(bytes_max: int) -> list[str]:
    """Runs what follows with a limit on the size of files, which is as good as a full disk."""
    code = (
        "import os, resource, sys; n = int(sys.argv[1]); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); os.execv(sys.argv[2], sys.argv[2:])"
    )
    return [sys.executable, "-c", code, str(bytes_max)]


def run(
    argv: Sequence[str], seconds: float = 30.0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and returns what it printed and its status."""
    return subprocess.run(
        list(argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=clean_env(**(env or {})),
        cwd=TESTS,
        timeout=seconds,
        check=False,
    )


@contextmanager
def closed_port(port: int = 0) -> Iterator[int]:
    """A port that refuses connections for as long as the context lasts; a free one, or this.

    It stays bound, so that no other program takes it and no client connects to itself.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        yield sock.getsockname()[1]


def answers(port: int, command: str) -> bool:
    """Whether a request without arguments gets a reply."""
    try:
        return "error" not in rawwire.ask(port, {"cmd": command})
    except (OSError, rawwire.Closed):
        return False
