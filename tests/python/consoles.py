"""Plays the console sessions of the documentation in a shell.

A page names the ports that the programs take by default, and files in /tmp. Here each such port is
replaced by one that is reserved for the session, in the commands and in what they print, and /tmp
by a folder of the test; the programs are told by their environment variables where they are.
Positions on the ring are drawn, so they do not count, nor does the order that follows from them.
A person types slower than programs start, so a command is repeated until it prints what it should.
"""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness import clean_env, wait_until

PORT = re.compile(r"\b3[89]00\d\b")
MARK = "-- the command has ended --"


@dataclass(frozen=True)
class Step:
    """A command and what it prints."""

    command: str
    output: str


def steps(text: str) -> list[Step]:
    """The steps of a session: lines that begin with `$ `, each with the lines behind it."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert parts[0] == "" and len(parts) > 1
    return [Step(*part.split("\n", 1)) for part in parts[1:]]


class Console:
    """A shell with job control, and the text that it plays with this test's ports and folder."""

    def __init__(self, folder: Path, scratch: Path, text: str) -> None:
        """Reserves a port for each that the text names, and for the default ones."""
        self.folder = folder
        self.stack = ExitStack()
        names = sorted({*PORT.findall(text), "39000", "38000"})
        self.ports = {name: str(self._reserve()) for name in names}
        text = PORT.sub(lambda match: self.ports[match[0]], text)
        self.text = text.replace("/tmp/", f"{scratch}/")

    def _reserve(self) -> int:
        """A port that nobody else is given, and that a program with `SO_REUSEADDR` can take."""
        sock = self.stack.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert isinstance(port, int)
        return port

    def __enter__(self) -> Self:
        """Starts the shell."""
        env = clean_env(
            # The scripts shall find the interpreter that runs the tests.
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            DHT_BIND="127.0.0.1",
            DHT_PORT=self.ports["39000"],
            DHT_VIEWLEADER=f"localhost:{self.ports['39000']}",
            DHT_SERVER=f"localhost:{self.ports['38000']}",
        )
        self.shell = self.stack.enter_context(
            subprocess.Popen(
                ["bash", "--norc", "--noprofile"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env=env,
                cwd=self.folder,
            )
        )
        self.run("set -m")
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every job that still runs, then the shell."""
        self.run("for job in $(jobs -p); do kill -9 $job; done; wait")
        with self.stack:
            assert self.shell.stdin is not None
            self.shell.stdin.write("exit\n")
            self.shell.stdin.flush()
            self.shell.wait(10)

    def run(self, command: str) -> str:
        """Runs a command in the shell; returns what it prints."""
        assert self.shell.stdin is not None and self.shell.stdout is not None
        self.shell.stdin.write(f"{{ {command}\n}} 2>&1\necho '{MARK}'\n")
        self.shell.stdin.flush()
        lines: list[str] = []
        for line in self.shell.stdout:
            if line.endswith(MARK + os.linesep):
                return "".join([*lines, line.removesuffix(MARK + os.linesep)])
            lines.append(line)
        raise AssertionError(f"the shell has ended: {''.join(lines)}")

    def play(self, step: Step) -> None:
        """Runs a step until it prints what it should."""
        printed: list[str] = []

        def right() -> bool:
            printed.append(self.run(step.command))
            return comparable(printed[-1]) == comparable(step.output)

        try:
            wait_until(right, what=step.command)
        except AssertionError:
            raise AssertionError(f"{step.command!r} printed {printed[-1]!r}") from None


def comparable(output: str) -> list[object]:
    """Lines without what a session draws: the positions of servers and their order."""
    lines: list[object] = []
    for line in output.splitlines():
        if not line.startswith("{'result'"):
            lines.append(line)
            continue
        reply = ast.literal_eval(line)
        lines.append((sorted(address for address, _ in reply["result"]), reply["epoch"]))
    return lines
