"""Measures everything side by side, on the release build: `make bench`.

    .venv/bin/python benches/bench.py --loader target/release/examples/load

Prints one table: ours, the limit (the same sockets and frames with nothing behind them), each peer
that is installed, the ratio that is demanded, and `pass` or `short`. Pairs are measured in turns,
and every reply is compared. The exit status is 1 where a row is short. A debug build is refused:
its numbers say nothing.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dht
from calls import show_calls
from disk import show_disk
from library import show_library
from moving import show_growth, show_memory_and_join
from page import write_page
from parties import Loader
from serving import Gauge, show_leader, show_plain, show_reads, show_writes
from table import Table

KEYS = 1_000_000
GROUPS = ("requests", "setr", "getr", "leader", "python", "library", "disk", "moving", "growth")


def main() -> int:
    """Measure, and return the exit status."""
    parser = argparse.ArgumentParser(description="Measure ours, the limit and what is installed.")
    parser.add_argument("--loader", type=Path, required=True, help="the load generator")
    parser.add_argument("--rows", default="", help=f"groups, of {', '.join(GROUPS)} (all)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of one measurement (0.3)")
    parser.add_argument("--rounds", type=int, default=3, help="for each row (3)")
    parser.add_argument("--keys", type=int, default=KEYS, help=f"of the large ring ({KEYS})")
    parser.add_argument("--growth", type=float, default=6.0, help="seconds of mixed load (6)")
    parser.add_argument("--json", type=Path, help="where the figures go too")
    parser.add_argument("--page", type=Path, help="the page to write with the figures and plots")
    args = parser.parse_args()
    if dht.build_profile != "release":
        print("this is a debug build, whose numbers say nothing; use `make bench`", file=sys.stderr)
        return 2
    groups = [group for group in args.rows.replace(",", " ").split() if group] or list(GROUPS)
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"no rows {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    table = Table()
    gauge = Gauge(Loader(args.loader), table, args.seconds, args.rounds)
    shows: dict[str, Callable[[], None]] = {
        "requests": lambda: show_plain(gauge),
        "setr": lambda: show_writes(gauge),
        "getr": lambda: show_reads(gauge),
        "leader": lambda: show_leader(gauge),
        "python": lambda: show_calls(gauge),
        "library": lambda: show_library(table),
        "disk": lambda: show_disk(gauge, args.keys),
        "moving": lambda: show_memory_and_join(gauge, args.keys),
        "growth": lambda: show_growth(gauge, args.growth),
    }
    began = time.monotonic()
    for group in groups:
        shows[group]()
    took = time.monotonic() - began
    print(f"{len(table.rows)} rows in {took:.0f} s, {args.rounds} rounds of {args.seconds} s each")
    print(f"{table.short} of {sum(len(row.verdicts) for row in table.rows)} bounds are short")
    if args.seconds < 1 or args.growth < 600:
        print("a quick look; for figures to keep: make bench SECONDS=2 ROUNDS=7 GROWTH=600")
    if args.json:
        table.save(args.json)
    if args.page:
        write_page(table, args.page, f"{args.rounds} rounds of {args.seconds:g} s each")
    return int(table.short > 0)


if __name__ == "__main__":
    sys.exit(main())
