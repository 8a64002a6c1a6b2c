"""Reads command lines by `argparse`, with one line for a value that is wrong."""

import argparse
from collections.abc import Sequence
from typing import Any

from dht import _dht
from dht.cli._options import Option, WrongValue


def parser(prog: str, description: str, options: Sequence[Option]) -> argparse.ArgumentParser:
    """Return a parser that knows `options`; `finish` completes what it has parsed."""
    result = argparse.ArgumentParser(prog=prog, description=description)
    result.add_argument("--version", action="version", version=f"%(prog)s {_dht.__version__}")
    for option in options:
        add(result, option)
    return result


def add(target: argparse.ArgumentParser, option: Option) -> None:
    """Add one option to a parser."""
    if option.metavar is None:
        text = f"{option.help} (environment: {option.env}=1)"
        target.add_argument(option.flag, action="store_true", default=None, help=text)
        return

    def convert(text: str) -> Any:
        try:
            return option.convert(text)
        except WrongValue as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    default = option.default if option.default_text is None else option.default_text
    target.add_argument(
        option.flag,
        type=convert,
        metavar=option.metavar,
        help=f"{option.help} (default: {default}; environment: {option.env})",
    )


def finish(
    parser: argparse.ArgumentParser, args: argparse.Namespace, options: Sequence[Option]
) -> argparse.Namespace:
    """Fill in what was not given: from the environment, else by default.

    Ends the program with one line and status 2 where the environment holds a wrong value.
    """
    for option in options:
        if getattr(args, option.dest) is None:
            try:
                setattr(args, option.dest, option.from_environment())
            except WrongValue as error:
                parser.error(f"environment variable {option.env}: {error}")
    return args
