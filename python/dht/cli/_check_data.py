"""`dht check-data`: what is in a node's directory, and is it sound?"""

import argparse
from typing import Any

from dht import _dht
from dht.cli import _options, _output

HELP = "say what is in the --data-dir of a server or view leader, and whether it is sound"

OPTIONS: list[_options.Option] = []

RANGES_TOLD_MAX = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is no option."""
    parser.add_argument("directory", metavar="DIR", help="the directory; nothing is changed there")


def run(args: argparse.Namespace) -> int:
    """Print what there is; return the exit status, 0 where it is sound."""
    facts = _dht.check_data(args.directory)
    describe = _server if facts["role"] == "server" else _leader
    _output.out([f"role: {facts['role']}", f"format version: {facts['version']}", *describe(facts)])
    if torn := facts["torn_bytes"]:
        _output.out(
            [
                f"cut off: the last {torn} bytes of the log are no whole change; a crash leaves"
                " that, of what nobody was told, or damage of the last change"
            ]
        )
    _output.out(["sound: every checksum and every row is right"])
    return 0


def _server(facts: dict[str, Any]) -> list[str]:
    ranges = [f"{start}-{end - 1}" for start, end, _ in facts["ranges"]]
    told = ", ".join(ranges[:RANGES_TOLD_MAX]) or "none"
    more = len(ranges) - RANGES_TOLD_MAX
    return [
        f"identity: {facts['identity'] or 'none yet'} ({facts['earlier_identities']} before it)",
        f"epoch: {facts['epoch']}",
        f"slots: {told}{f' and {more} more ranges' if more > 0 else ''}",
        f"keys: {facts['keys']} ({facts['key_bytes']} bytes of names and values)",
        f"local values: {facts['locals']} ({facts['local_bytes']} bytes)",
        f"remembered requests: {facts['requests']}",
    ]


def _leader(facts: dict[str, Any]) -> list[str]:
    return [
        f"epoch: {facts['epoch']}",
        f"members: {', '.join(facts['members']) or 'none'}",
        f"ranges: {facts['ranges']}",
        f"denied identities: {facts['denied']}",
        f"locks: {facts['locks']}",
    ]
