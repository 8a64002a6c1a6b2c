"""`dht`: looks after a ring, and what it has on disk."""

import argparse
from collections.abc import Sequence
from typing import Any

from dht import _dht
from dht.cli import (
    _check_data,
    _drain,
    _export,
    _import,
    _options,
    _output,
    _parser,
    _restart_safe,
    _status,
)

PROG = "dht"

COMMANDS: dict[str, Any] = {
    "status": _status,
    "drain": _drain,
    "restart-safe": _restart_safe,
    "check-data": _check_data,
    "export": _export,
    "import": _import,
}
"""Each module has `HELP`, `OPTIONS`, `arguments(parser)` and `run(args)`, the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The exit status.
    """
    return _output.guarded(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser.parser(PROG, "Look after a distributed hash table.", [])
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        text = module.HELP
        description = text[0].upper() + text[1:] + "."
        command = commands.add_parser(name, help=text, description=description)
        module.arguments(command)
        for option in module.OPTIONS:
            _parser.add(command, option)
    args = parser.parse_args(argv)
    module = COMMANDS[args.command]
    _parser.finish(parser, args, module.OPTIONS)
    try:
        result: int = module.run(args)
        return result
    except (_dht.DhtError, OSError, ValueError) as error:
        return failed(args, error)


def failed(args: argparse.Namespace, error: Exception) -> int:
    """Print what is wrong on one line of standard error; return the exit status."""
    text = _options.in_options(" ".join(str(error).split())) or type(error).__name__
    _output.err([f"{PROG} {args.command}: error: {text}"])
    return 1
