"""The documentation as data: its pages, fenced blocks, tables and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TOLD = re.compile(r"\s*(?:It prints `([^`\n]+)`|```text\n(.*?)^```$)", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    number: int
    text: str
    after: str

    @property
    def told(self) -> str:
        """What the page says right behind the block that it prints; empty for nothing."""
        match = _TOLD.match(self.after)
        return (match[1] or match[2]).rstrip("\n") if match else ""

    @property
    def file(self) -> str:
        """The file that the block's first line names as its place; empty for none."""
        match = _FILE.match(self.text)
        return match[1] if match else ""

    @property
    def name(self) -> str:
        """Page and place, to name a test by."""
        return f"{self.page.name}-{self.number}"


def blocks(kind: str, *pages: Path) -> list[Block]:
    """The blocks of a kind (`python`, `console`, …) on these pages, or on all."""
    found = []
    for page in pages or PAGES:
        text = read(page)
        matches = [match for match in _BLOCK.finditer(text) if match[1] == kind]
        for number, match in enumerate(matches, 1):
            found.append(Block(page, number, match[2], text[match.end() :]))
    return found


def read(page: Path) -> str:
    """A page's text."""
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page's text without its fenced blocks."""
    return _BLOCK.sub("", read(page))


def table(page: Path, *columns: str) -> list[list[str]]:
    """The rows of the page's table with exactly these columns; without back quotes."""
    found = []
    inside = False
    for line in read(page).splitlines():
        # A `\|` would be a bar within a cell; no page needs one.
        cells = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells == list(columns):
            inside = True
        elif inside and set(line) - set("|- "):
            found.append(cells)
    assert found, f"{page.name} has no table {columns}"
    assert all(len(row) == len(columns) for row in found), page.name
    return found


def links(page: Path) -> list[str]:
    """Where the page's links lead."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`."""
    headings = _HEADING.findall(prose(page))
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}
