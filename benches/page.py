"""Writes the last table into `docs/performance.md`, and its plots beside it."""

import os
import platform
import re
from pathlib import Path

from plots import plot
from table import Row, Table, figure

START = "<!-- The table: written by `make bench PAGE=docs/performance.md` -->"
END = "<!-- The end of the table -->"
COUNT = re.compile(r"(.*), (\d+) (?:clients|at once)$")
SERVERS = re.compile(r"view change, ([\d,]+) servers, (one \w+)")


def write_page(table: Table, path: Path, how: str) -> None:
    """Replace what stands between the marks of the page, and write its plots.

    Args:
        table: The rows.
        path: The page; it must have both marks.
        how: How often and how long each was measured.
    """
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    assert after, f"{path} lacks {START} and {END}"
    lines = [START, "", machine() + f" {how}.", "", *cells(table), ""]
    lines += [f"- Skipped: {what}." for what in table.skipped]
    lines += [""] if table.skipped else []
    path.write_text(before + "\n".join([*lines, END]) + after, encoding="utf-8")
    draw(table, path.parent)


def cells(table: Table) -> list[str]:
    """Return the rows as a table of Markdown."""
    heads = ["what", "unit", "ours", "least .. most", *table.COLUMNS, "ratio or figure (bound)"]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for row in table.rows:
        others = [row.others.get(name) for name in table.COLUMNS]
        shown = [
            row.what,
            row.unit,
            figure(row.ours.median),
            f"{figure(row.ours.least)} .. {figure(row.ours.most)}",
            *(figure(other.median) if other else "" for other in others),
            "; ".join(map(str, row.verdicts)),
        ]
        lines.append(f"| {' | '.join(shown)} |")
    return lines


def machine() -> str:
    """Say what all this ran on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*:\s*(.*)", info.read_text(encoding="utf-8"))
        model = found[1] if found else model
    system = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} cores of {model}, {system}, Python {platform.python_version()};"


def draw(table: Table, folder: Path) -> None:
    """Draw throughput by the number of clients, and cost by the number of servers."""
    for group in ("requests", "setr"):
        chosen = {"requests": "get, kept open", "setr": "setr, three copies"}[group]
        lines = by_clients([row for row in table.rows if row.what.startswith(chosen)])
        if lines:
            path = folder / f"performance-{group}.svg"
            plot(path, f"{chosen}: throughput", "clients", "thousand a second", lines)
    costs: dict[str, list[tuple[float, float]]] = {}
    for row in table.rows:
        found = SERVERS.match(row.what)
        if found:
            point = (float(found[1].replace(",", "")), row.ours.median)
            costs.setdefault(found[2], []).append(point)
    if costs:
        path = folder / "performance-servers.svg"
        plot(
            path,
            "What the view leader computes for a change of the view",
            "servers in the view",
            "ms",
            costs,
        )


def by_clients(rows: list[Row]) -> dict[str, list[tuple[float, float]]]:
    """Return a line for each party, over the number of clients."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found = COUNT.match(row.what)
        if not found:
            continue
        for name, series in {"ours": row.ours, **row.others}.items():
            lines.setdefault(name, []).append((float(found[2]), series.median))
    return {name: line for name, line in lines.items() if len(line) > 1}
