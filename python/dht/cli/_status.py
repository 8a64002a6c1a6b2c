"""`dht status`: what a ring is doing, once or again and again."""

import argparse
import sys
import time
from contextlib import AbstractContextManager
from typing import Protocol, Self

from dht.cli import _options, _output
from dht.cli._table import lines
from dht.client import Client
from dht.errors import DhtError
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


class View(AbstractContextManager["View"], Protocol):
    """Where looks are shown."""

    def show(self, status: Status) -> bool:
        """Show one look; say whether somebody can still see it."""
        ...

    def trouble(self, why: str) -> None:
        """Say why there is no newer look."""
        ...


class Lines:
    """Shows looks as lines of text, or of JSON, on standard output; trouble on standard error.

    Args:
        as_json: Whether each look is one line of JSON.
        again: Whether another look may follow.
    """

    def __init__(self, *, as_json: bool, again: bool) -> None:
        self._as_json = as_json
        self._again = again
        self._away = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: Status) -> bool:
        """Print one look; say whether somebody can still read it."""
        self._away = False
        if self._as_json:
            return _output.out([status.to_json()])
        return _output.out([*lines(status), ""] if self._again else lines(status))

    def trouble(self, why: str) -> None:
        """Say why there is no newer look, once until there is one."""
        if not self._away:
            _output.err([f"dht status: {why}; asking again"])
        self._away = True


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
        view = _view(args)
        if not args.watch:
            if status.transfers:  # a second look tells how long it will take
                time.sleep(LOOK_AGAIN_S)
                status = client.status().since(status)
            view.show(status)
            return 0
        try:
            return _watch(client, status, view, args.interval / 1000)
        except KeyboardInterrupt:
            return 0  # the way to end it


def _view(args: argparse.Namespace) -> View:
    """Return a screen where there is a terminal that can be drawn on; else lines."""
    if not args.json and sys.stdout.isatty():
        from rich.console import Console  # takes longer to load than all the rest

        from dht.cli._screen import Screen

        console = Console(highlight=False)
        if console.is_interactive:
            return Screen(console)
    return Lines(as_json=args.json, again=args.watch)


def _watch(client: Client, status: Status, view: View, interval_s: float) -> int:
    with view:
        while view.show(status):
            time.sleep(interval_s)
            status = _next(client, status, view, interval_s)
    return 1


def _next(client: Client, earlier: Status, view: View, interval_s: float) -> Status:
    """Return the next look, however long the view leader is away."""
    while True:
        try:
            return client.status().since(earlier)
        except DhtError as error:
            view.trouble(_options.in_options(" ".join(str(error).split())))
            time.sleep(interval_s)
