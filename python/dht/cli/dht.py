"""`dht`: looks after a ring that runs."""

import argparse
from collections.abc import Sequence

from dht import _dht
from dht.cli import _drain, _options, _output, _restart_safe, _status

PROG = "dht"

COMMANDS = {
    "status": _status,
    "drain": _drain,
    "restart-safe": _restart_safe,
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
    parser = _options.parser(PROG, "Look after a distributed hash table that runs.", [])
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        text = module.HELP
        description = text[0].upper() + text[1:] + "."
        command = commands.add_parser(name, help=text, description=description)
        module.arguments(command)
        for option in module.OPTIONS:
            _options.add(command, option)
    args = parser.parse_args(argv)
    module = COMMANDS[args.command]
    _options.finish(parser, args, module.OPTIONS)
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
