"""`dht restart-safe`: may this server be ended now?"""

import argparse
import time

from dht.cli import _options, _output
from dht.cli._place import find
from dht.client import Client
from dht.status import REASONS_MAX

HELP = "say whether a server can be ended now and every name keeps enough copies"

OPTIONS = [
    _options.VIEWLEADER,
    _options.Option(
        "--wait",
        "DHT_WAIT",
        _options.seconds,
        None,
        "SECONDS",
        "how long to wait until it is safe",
        "not at all",
    ),
]

POLL_S = 0.2


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is no option."""
    parser.add_argument("address", metavar="ADDR", type=_options.host, help="the server, HOST:PORT")


def run(args: argparse.Namespace) -> int:
    """Answer with the exit status: 0 yes, 1 no, with the reason."""
    deadline = time.monotonic() + (args.wait or 0) / 1000
    with Client(args.viewleader) as client:
        while True:
            status = client.status()
            address = find(status, args.address)
            risks = status.restart_risks(address)
            if not risks or time.monotonic() >= deadline:
                break
            time.sleep(POLL_S)
    if not risks:
        _output.out([f"yes: every name on {address} has enough other copies"])
        return 0
    told = risks[:REASONS_MAX]
    more = len(risks) - len(told)
    _output.out([f"no: {'; '.join(told)}{f'; and {more} more ranges' if more else ''}"])
    return 1
