"""Runs the sessions of `tests/golden/cli`; the README there is the grammar."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from harness import run, script
from ops import command

REWRITE = os.environ.get("REWRITE") == "1"


@dataclass(frozen=True)
class Step:
    """One command, what stands around it in the file, and what it must print and return."""

    preface: str
    command: str
    output: str
    status: int

    def text(self) -> str:
        """The step as it stands in the file."""
        return f"{self.preface}$ {self.command}\n{self.output}[{self.status}]\n"


@dataclass(frozen=True)
class Session:
    """One file: how many servers it needs (`None`: no ring at all) and its steps."""

    path: Path
    header: str
    servers: int | None
    steps: tuple[Step, ...]
    rest: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file."""
        text = path.read_text(encoding="utf-8")
        header = re.match(r"(?:#[^\n]*\n|\n)*ring (\d+|none)\n", text)
        assert header, path
        steps = []
        at = header.end()
        shape = re.compile(
            r"(?P<preface>(?:#[^\n]*\n|\n)*)\$ (?P<command>[^\n]*)\n"
            r"(?P<output>(?:(?!\[\d+\]\n)[^\n]*\n)*)\[(?P<status>\d+)\]\n"
        )
        while match := shape.match(text, at):
            at = match.end()
            steps.append(Step(match[1], match[2], match[3], int(match[4])))
        rest = text[at:]
        assert all(line == "" or line[0] == "#" for line in rest.splitlines()), (path, rest)
        servers = None if header[1] == "none" else int(header[1])
        return cls(path, header[0], servers, tuple(steps), rest)

    def rewritten(self, steps: Sequence[Step]) -> None:
        """Writes the file anew with these steps."""
        text = self.header + "".join(step.text() for step in steps) + self.rest
        self.path.write_text(text, encoding="utf-8")


def play(step: Step, names: Mapping[str, str], hosts: Sequence[str]) -> Step:
    """Runs a step's command and returns the step as it really went.

    `names` gives the words that stand for addresses, in the command and in its output.
    """
    words = shlex.split(step.command)
    env = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        env[name] = _filled(value, names)
    name, *args = [_filled(word, names) for word in words]
    bare = name != "client.py" or "--help" in args or "--viewleader" in args
    argv = command(*args) if name == "dht" else script(name, *([] if bare else hosts), *args)
    done = run(argv, env=env)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    output = done.stdout + done.stderr
    for word, address in names.items():
        output = output.replace(address, word)
    output = re.sub(r"(\[u?'SERVER\d'), \d+\]", r"\1, HASH]", output)
    if output and not output.endswith("\n"):
        output += "\n"
    return replace(step, output=output, status=done.returncode)


def _filled(word: str, names: Mapping[str, str]) -> str:
    for name, address in names.items():
        word = word.replace(name, address)
    return word
