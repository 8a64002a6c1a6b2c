"""Nothing is left lying about: unfinished work, debugging, fixed sleeps, oversized files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ROOT

FOLDERS = ("src", "python", "scripts", "tests", "docs", "benches")
SUFFIXES = (".rs", ".py", ".pyi", ".md", ".txt", ".toml")
LINES_MAX = 450

# Each word is written in two halves, so that this file does not find itself.
LEFTOVERS = "|".join(
    first + second
    for first, second in [
        (r"\bTO", r"DO\b"),
        (r"\bFIX", r"ME\b"),
        (r"\bXX", r"X\b"),
        (r"\bto", r"do!\("),
        (r"\bunimpl", r"emented!\("),
        (r"\bdb", r"g!\("),
        (r"#\[ign", r"ore"),
        (r"pytest\.mark\.(skip|xf", r"ail)|pytest\.skip\("),
        (r"\bbreakpo", r"int\(\)"),
        (r"<<<<", r"<<< |>>>" + r">>>> "),
        (r"/ro", r"ot/|/wo" + r"rk/"),
    ]
)
PRINTS = re.compile(r"\be?pri" + r"nt(ln)?!\(")
# A wait of a few milliseconds between two looks at a condition is no fixed sleep.
SLEEPS = re.compile(
    r"\b(time|asyncio)\.sle" + r"ep\(|(thread|time)::sle" + r"ep\((?!Duration::from_millis\(\d\)\))"
)


def files() -> Iterator[Path]:
    """Every text file that a person wrote."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and "__pycache__" not in path.parts:
                yield path
    yield from (path for path in sorted(ROOT.iterdir()) if path.suffix in SUFFIXES)


def hits(pattern: re.Pattern[str], path: Path) -> list[str]:
    """The lines of a file that match, with their place."""
    lines = path.read_text(encoding="utf-8").splitlines()
    where = path.relative_to(ROOT)
    return [
        f"{where}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if pattern.search(line)
    ]


def test_no_unfinished_work() -> None:
    """No notes to self, no switched-off tests, no paths of somebody's machine."""
    pattern = re.compile(LEFTOVERS)
    assert not [hit for path in files() for hit in hits(pattern, path)]


def test_rust_does_not_print() -> None:
    """What people see is printed by Python."""
    sources = [path for path in files() if path.is_relative_to(ROOT / "src")]
    assert sources
    assert not [hit for path in sources for hit in hits(PRINTS, path)]


def test_no_test_sleeps_for_a_fixed_time() -> None:
    """Tests wait for a condition with a deadline."""
    tests = [path for path in files() if path.is_relative_to(ROOT / "tests")]
    assert not [hit for path in tests for hit in hits(SLEEPS, path)]


@pytest.mark.parametrize("suffix", [".rs", ".py"])
def test_no_file_is_about_too_many_things(suffix: str) -> None:
    """A source file that passes this length is usually two."""
    long = {}
    for path in files():
        count = path.read_text(encoding="utf-8").count("\n")
        if path.suffix == suffix and count > LINES_MAX:
            long[str(path.relative_to(ROOT))] = count
    assert not long


def test_no_stray_white_space() -> None:
    """In sources no line ends in white space, and every file ends in a new line."""
    bad = []
    for path in (path for path in files() if path.suffix != ".txt"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"[ \t]$", text, re.MULTILINE) or (text and not text.endswith("\n")):
            bad.append(str(path.relative_to(ROOT)))
    assert not bad
