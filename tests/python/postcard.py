"""Reads messages between replicas, and writes one, by what `docs/protocol.md` says alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Fields = dict[str, Any]


def confirmed(sender: tuple[str, str], to: str, span: list[int], number: int) -> bytes:
    """A message of this kind: the sender stands at the revision of `span`."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)

    def text(value: str) -> bytes:
        return varint(len(value)) + value.encode("ascii")

    head = text(sender[0]) + text(sender[1]) + text(to) + varint(number)
    return b"\xd1" + head + b"".join(map(varint, span)) + varint(0)


class Reader:
    """Bytes, and how many of them have been read."""

    def __init__(self, data: bytes) -> None:
        """Begins at the first byte."""
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        assert self.at + count <= len(self.data), "the message ends too early"
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        """Seven bits per byte, lowest first."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def bool(self) -> bool:
        """One byte."""
        byte = self.take(1)[0]
        assert byte in (0, 1)
        return byte == 1

    def text(self) -> str:
        """Length and bytes."""
        return self.take(self.number()).decode("utf-8", "surrogatepass")

    def items(self, item: Callable[[], Any]) -> list[Any]:
        """Length and items."""
        return [item() for _ in range(self.number())]

    def numbers(self, *names: str) -> Fields:
        """Several numbers."""
        return {name: self.number() for name in names}

    def peer(self) -> list[str]:
        """Identity and address."""
        return [self.text(), self.text()]

    def span(self) -> list[int]:
        """Start, end and revision."""
        return [self.number(), self.number(), self.number()]

    def version(self) -> Fields:
        """Revision and sequence."""
        return self.numbers("revision", "sequence")

    def request(self) -> Fields:
        """Client and number."""
        return self.numbers("client", "number")

    def cell(self) -> Fields:
        """Version and value."""
        return {"version": self.version(), "value": self.text()}

    def cells(self) -> list[list[Any]]:
        """Names and cells, up to the end."""
        found = []
        while self.at < len(self.data):
            found.append([self.text(), self.cell()])
        return found

    def groups(self) -> list[Fields]:
        """Requests with their versions, up to the end."""
        found = []
        while self.at < len(self.data):
            group = self.numbers("revision", "repeated")
            for _ in range(self.number()):
                words = [int.from_bytes(self.take(8), "little") for _ in range(3)]
                fields = dict(zip(("client", "number", "sequence"), words, strict=True))
                found.append({**group, **fields})
        return found

    def entry(self) -> Fields:
        """An assignment."""
        fields = self.numbers("start", "end", "revision", "born", "led_since")
        active = self.items(self.peer)
        joining = self.items(lambda: [*self.peer(), self.number()])
        return {**fields, "active": active, "joining": joining}

    def part(self) -> Fields:
        """A part of a slot's content."""
        return {
            "cells": Reader(self.take(self.number())).cells(),
            "recent": Reader(self.take(self.number())).groups(),
            "forgotten": self.version(),
            "forgotten_repeats": self.version(),
            "last": self.bool(),
        }

    def optional_text(self) -> str | None:
        """Nothing or a text."""
        return self.text() if self.bool() else None


# The type that the page gives behind a field's name, where it gives one.
TYPES: dict[str, Callable[[Reader], Any]] = {
    "bool": Reader.bool,
    "cell": Reader.cell,
    "entry": Reader.entry,
    "list of entry": lambda reader: reader.items(reader.entry),
    "list of slot and fingerprint": lambda reader: reader.items(
        lambda: [reader.number(), reader.number()]
    ),
    "number": Reader.number,
    "optional text": Reader.optional_text,
    "part": Reader.part,
    "request": Reader.request,
    "span": Reader.span,
    "text": Reader.text,
}


def kinds(rows: list[list[str]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Name and fields (name, type) of each kind, from the rows of the page's table."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for row in rows:
        assert row[0] == str(len(found)), f"{row[1]} stands at the wrong place"
        fields = []
        for field in row[2].split(", "):
            name, _, kind = field.rstrip(")").partition(" (")
            of_itself = name if name in TYPES else "number"
            fields.append((name, kind or of_itself))
        found.append((row[1], fields))
    return found


def decode(message: bytes, rows: list[list[str]]) -> tuple[list[str], str, str, Fields]:
    """Sender, receiver, kind and fields of a message, every byte of which is read."""
    reader = Reader(message)
    assert reader.take(1) == b"\xd1"
    sender, receiver = reader.peer(), reader.text()
    name, fields = kinds(rows)[reader.number()]
    said = {field: TYPES[kind](reader) for field, kind in fields}
    assert reader.at == len(message), f"{len(message) - reader.at} bytes too many behind {name}"
    return sender, receiver, name, said
