"""The one table of `make bench`: what was measured, beside the limit and what others reach."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Series:
    """What the rounds gave."""

    values: tuple[float, ...]

    @property
    def least(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    @property
    def most(self) -> float:
        """The largest value."""
        return max(self.values)

    def over(self, other: "Series") -> float:
        """The median of the ratios, round by round: what slows one round slows both."""
        return statistics.median(a / b for a, b in zip(self.values, other.values, strict=True))


@dataclass(frozen=True)
class Verdict:
    """How a figure stands to its bound."""

    figure: float
    of: str
    bound: float
    at_most: bool = False

    @property
    def kept(self) -> bool:
        """Whether the bound is kept."""
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        word = "pass" if self.kept else "short"
        # What is short must not look like its bound.
        shown = (f"{self.figure:.{digits}g}" for digits in range(3, 18))
        figure = next(text for text in shown if self.kept or float(text) != self.bound)
        return f"{figure} {self.of} ({sign} {self.bound:g}: {word})"


@dataclass
class Row:
    """A line of the table."""

    group: str
    what: str
    unit: str
    ours: Series
    others: dict[str, Series] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)

    def least_of(self, other: str, least: float) -> "Row":
        """Demand that ours is at least so many times another's; nothing where that is missing."""
        if other in self.others:
            ratio = self.ours.over(self.others[other])
            self.verdicts.append(Verdict(ratio, f"x {other}", least))
        return self

    def at_most(self, most: float, unit: str = "") -> "Row":
        """Demand that ours is at most so much."""
        self.verdicts.append(Verdict(self.ours.median, unit or self.unit, most, at_most=True))
        return self

    def at_least(self, least: float, unit: str = "") -> "Row":
        """Demand that ours is at least so much."""
        self.verdicts.append(Verdict(self.ours.median, unit or self.unit, least))
        return self


def alternate(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Series]:
    """Call each function once in each round, in turns.

    Args:
        runs: The functions by name; each returns one measurement.
        rounds: How often each is called.

    Returns:
        What each gave, by name.
    """
    values: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            values[name].append(run())
    return {name: Series(tuple(found)) for name, found in values.items()}


class Table:
    """The rows so far; each is printed when it is added."""

    COLUMNS = ("limit", "Redis", "memcached", "etcd", "original")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.skipped: list[str] = []
        heads = "".join(f"{name:>11}" for name in self.COLUMNS)
        print(f"{'what':<45}{'ours (least .. most)':>31}{heads}  ratio (bound: verdict)")

    def add(self, row: Row) -> Row:
        """Keep a row, and print it."""
        self.rows.append(row)
        print(self.line(row), flush=True)
        return row

    def skip(self, what: str) -> None:
        """Say once that something was not measured, and what would help."""
        if what not in self.skipped:
            self.skipped.append(what)
            print(f"skipped: {what}", flush=True)

    def line(self, row: Row) -> str:
        """Return a row as a line of text."""
        ours = f"{figure(row.ours.median)} ({figure(row.ours.least)} .. {figure(row.ours.most)})"
        named = [row.others.get(name) for name in self.COLUMNS]
        others = "".join(f"{figure(other.median) if other else '':>11}" for other in named)
        more = [
            f"{name} {figure(other.median)}"
            for name, other in row.others.items()
            if name not in self.COLUMNS
        ]
        words = "; ".join([*map(str, row.verdicts), *more])
        return f"{row.what + ', ' + row.unit:<45}{ours:>31}{others}  {words}".rstrip()

    @property
    def short(self) -> int:
        """How many bounds are not kept."""
        return sum(not verdict.kept for row in self.rows for verdict in row.verdicts)

    def save(self, path: Path) -> None:
        """Write the rows as JSON."""
        rows = [asdict(row) for row in self.rows]
        text = json.dumps({"rows": rows, "skipped": self.skipped}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")


def figure(value: float) -> str:
    """Return a number as people read it: three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def series(values: Sequence[float]) -> Series:
    """Return the values as a series."""
    return Series(tuple(values))
