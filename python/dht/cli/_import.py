"""`dht import`: puts lines of JSON, as `dht export` prints them, into a running ring."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from dht import _dht
from dht.cli import _options, _output

HELP = "store the pairs of a file, as `dht export` prints them, in a running ring"

OPTIONS = [
    _options.VIEWLEADER,
    _options.Option(
        "--timeout",
        "DHT_TIMEOUT",
        _options.seconds,
        15_000,
        "SECONDS",
        "how long one pair may take",
        "15",
    ),
]

PAIRS_AT_ONCE = 1_000
FAILURES_TOLD_MAX = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is no option."""
    parser.add_argument("file", metavar="FILE", help="the file; - for standard input")


def run(args: argparse.Namespace) -> int:
    """Store the pairs; return the exit status, 1 where some are not stored."""
    native = _dht.Client(viewleader=args.viewleader, timeout_ms=args.timeout)
    try:
        if args.file == "-":
            return _store(native, sys.stdin.buffer)
        with _opened(args.file) as lines:
            return _store(native, lines)
    finally:
        native.close()


def _opened(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise OSError(
            f"can't read {name!r}: {error.strerror}; name a file of lines as `dht export` prints "
            "them, or - for standard input"
        ) from None


def _store(native: _dht.Client, lines: BinaryIO) -> int:
    stored = 0
    failed: list[str] = []
    wrong = ""
    pairs = _pairs(lines)
    while True:
        batch: list[tuple[str, str]] = []
        try:
            batch.extend(islice(pairs, PAIRS_AT_ONCE))
        except ValueError as error:  # what comes before that line is stored, and told
            wrong = str(error)
        results = native.setr_many(batch) if batch else []
        for (name, _), result in zip(batch, results, strict=True):
            if isinstance(result, _dht.DhtError):
                why = _options.in_options(" ".join(str(result).split()))
                failed.append(f"{name}: {why}")
            else:
                stored += 1
        if wrong or not batch:
            break
    _tell(stored, failed, wrong)
    return 1 if failed or wrong else 0


def _pairs(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _dht.read_pair(line.decode())
            except UnicodeDecodeError:
                why = "not UTF-8"
            except ValueError as error:
                why = str(error)
            else:
                continue
            raise ValueError(f"line {number} is {why}; nothing from it on is stored")


def _tell(stored: int, failed: list[str], wrong: str) -> None:
    _output.out([f"stored {stored} pairs"])
    told = [f"dht import: error: not stored: {text}" for text in failed[:FAILURES_TOLD_MAX]]
    if len(failed) > FAILURES_TOLD_MAX:
        told.append(f"dht import: error: not stored: {len(failed) - FAILURES_TOLD_MAX} more")
    if wrong:
        told.append(f"dht import: error: {wrong}")
    _output.err(told)
