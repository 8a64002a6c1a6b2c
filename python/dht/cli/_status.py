"""`dht status`: what a ring is doing, once or again and again."""

import argparse
import sys
import time

from dht.cli import _options, _output
from dht.cli._table import lines
from dht.client import Client
from dht.status import Status

HELP = "show the servers, what moves and how far it is, what waits, and the locks"

OPTIONS = [
    _options.VIEWLEADER,
    _options.Option(
        "--interval",
        "DHT_INTERVAL",
        _options.seconds,
        1_000,
        "SECONDS",
        "the time between two looks of --watch",
        "1",
    ),
]

LOOK_AGAIN_S = 0.5
_CLEAR = "\x1b[H\x1b[J"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what has no environment variable."""
    parser.add_argument("--watch", action="store_true", help="show it again and again until Ctrl-C")
    parser.add_argument(
        "--json", action="store_true", help="print JSON objects, one for each look, on a line each"
    )


def run(args: argparse.Namespace) -> int:
    """Print the status; return the exit status."""
    with Client(args.viewleader) as client:
        status = client.status()
        if not args.watch:
            if status.transfers:  # a second look tells how long it will take
                time.sleep(LOOK_AGAIN_S)
                status = client.status().since(status)
            _show(args, status, redraw=False)
            return 0
        try:
            return _watch(args, client, status)
        except KeyboardInterrupt:
            return 0  # the way to end it


def _watch(args: argparse.Namespace, client: Client, status: Status) -> int:
    redraw = sys.stdout.isatty() and not args.json
    while _show(args, status, redraw=redraw):
        time.sleep(args.interval / 1000)
        status = client.status().since(status)
    return 1


def _show(args: argparse.Namespace, status: Status, *, redraw: bool) -> bool:
    """Print one look; say whether somebody can still read it."""
    if args.json:
        return _output.out([status.to_json()])
    text = lines(status)
    if redraw:
        text[0] = _CLEAR + text[0]
    return _output.out([*text, ""] if args.watch else text)
