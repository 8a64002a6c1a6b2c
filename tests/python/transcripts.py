"""Runs the transcripts of `tests/golden/wire` against a program; the README there is the grammar.

Numbers and constants are compared by their text, objects without regard to the order of fields.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from harness import Program, wait_until
from rawwire import Connection, ask_text, frame


@dataclass(frozen=True)
class Number:
    """A number or constant as it stands in the message."""

    text: str


def parse(text: str) -> Any:
    """Reads JSON and keeps the text of its numbers."""
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=Number)


def matches(expected: Any, got: Any) -> bool:
    """Whether `got` is what the transcript expects; see the README for the words with `$`."""
    if expected == "$int":
        return isinstance(got, Number) and got.text.isdigit()
    if expected == "$line":
        return isinstance(got, str) and got.strip() != "" and "\n" not in got
    if isinstance(expected, dict) and set(expected) == {"$unordered"}:
        wanted = expected["$unordered"]
        return isinstance(got, list) and sorted(map(repr, got)) == sorted(map(repr, wanted))
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and set(expected) == set(got)
            and all(matches(expected[name], got[name]) for name in expected)
        )
    if isinstance(expected, list):
        return (
            isinstance(got, list) and len(expected) == len(got) and all(map(matches, expected, got))
        )
    return bool(expected == got)


@dataclass(frozen=True)
class Transcript:
    """One file: what to start, and the lines of the dialogue with their numbers."""

    path: Path
    role: str
    options: tuple[str, ...]
    lines: tuple[tuple[int, str], ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file; its first line that is no comment says what to start."""
        numbered = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        lines = [(n, line.strip()) for n, line in numbered if line.strip() and line[0] != "#"]
        words = lines[0][1].split()
        assert words[0] == "start" and words[1] in ("server", "viewleader", "either"), path
        return cls(path, words[1], tuple(words[2:]), tuple(lines[1:]))

    def roles(self) -> list[str]:
        """The programs that this transcript must hold for."""
        return ["server", "viewleader"] if self.role == "either" else [self.role]


class Runner:
    """Plays one transcript against one program."""

    def __init__(self, program: Program) -> None:
        """Makes a runner; nothing is sent yet."""
        self.program = program
        self.source = "127.0.0.1"
        self.opened: list[Connection] = []
        self.request = ""
        self.printed = len(program.lines)

    def play(self, transcript: Transcript) -> None:
        """Plays all lines; an error names the file and the line."""
        try:
            for number, line in transcript.lines:
                try:
                    self._step(line)
                except Exception as error:
                    where = f"{transcript.path.name}:{number}: {line[:200]}"
                    raise AssertionError(f"{where}\n{type(error).__name__}: {error}") from error
        finally:
            for connection in self.opened:
                connection.close()

    def _step(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        steps: dict[str, Callable[[str], None]] = {
            ">": self._send_anew,
            "+": lambda text: self._last().send_text(text),
            "<": self._expect,
            "until": self._until,
            "raw": lambda data: self._open().send_bytes(bytes.fromhex(data)),
            "length": self._send_length,
            "from": self._from,
            "half-close": lambda _: self._last().half_close(),
            "hang-up": lambda _: self._last().close(),
            "closed": self._expect_closed,
            "prints": self._expect_printed,
        }
        steps[word](rest)

    def _open(self) -> Connection:
        self.opened.append(Connection(self.program.port, self.source))
        return self.opened[-1]

    def _last(self) -> Connection:
        return self.opened[-1]

    def _send_anew(self, text: str) -> None:
        self.request = text
        self._open().send_text(text)

    def _send_length(self, rest: str) -> None:
        length, _, text = rest.partition(" ")
        self._open().send_bytes(struct.pack("!i", int(length)) + frame(text)[4:])

    def _from(self, source: str) -> None:
        self.source = source

    def _expect(self, text: str) -> None:
        got = self._last().read_text()
        assert matches(parse(text), parse(got)), f"got {got}"

    def _until(self, text: str) -> None:
        got = ""

        def asked() -> bool:
            nonlocal got
            got = ask_text(self.program.port, self.request, self.source)
            return matches(parse(text), parse(got))

        try:
            wait_until(asked)
        except AssertionError:
            raise AssertionError(f"still got {got}") from None

    def _expect_closed(self, _: str) -> None:
        assert self._last().is_closed(), "the connection stays open, or more bytes came"

    def _expect_printed(self, text: str) -> None:
        def printed() -> bool:
            return text in self.program.lines[self.printed :]

        try:
            wait_until(printed, 5.0)
        except AssertionError:
            raise AssertionError(f"printed {self.program.lines[self.printed :]}") from None
        self.printed = self.program.lines.index(text, self.printed) + 1
