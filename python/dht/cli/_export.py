"""`dht export`: the pairs in a server's directory, as lines of JSON."""

import argparse

from dht import _dht
from dht.cli import _options, _output

HELP = "print the pairs in the --data-dir of a server that is not running, as lines of JSON"

OPTIONS: list[_options.Option] = []


class _NobodyReads(Exception):
    """Standard output was closed."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is no option."""
    parser.add_argument("directory", metavar="DIR", help="the directory; nothing is changed there")
    parser.add_argument(
        "--local",
        action="store_true",
        help="the values that `set` gave to this server alone, not the replicated ones",
    )


def run(args: argparse.Namespace) -> int:
    """Print the pairs; return the exit status."""
    try:
        _dht.export_data(args.directory, _write, local=args.local)
    except _NobodyReads:
        return 1
    return 0


def _write(text: str) -> None:
    if not _output.out([text.removesuffix("\n")]):
        raise _NobodyReads
