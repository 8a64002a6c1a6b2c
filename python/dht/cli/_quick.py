"""Reads usual command lines without `argparse`, which takes longer to load than a command to run.

What is not usual, such as `--help`, a shortened option, or anything that is wrong, is left to
`argparse`, which reads what is usual just so. Both go by the same tables of options and commands.
"""

from __future__ import annotations

from dht.cli._options import WrongValue

TYPE_CHECKING = False
if TYPE_CHECKING:  # a command does without them
    from collections.abc import Mapping, Sequence
    from typing import Any

    from dht.cli._options import Option


class Arguments:
    """What was asked for, in attributes of the same names as `argparse.Namespace` has."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


def read(
    words: Sequence[str],
    options: Sequence[Option],
    commands: Mapping[str, tuple[Sequence[str], str]],
    several: str,
) -> Arguments | None:
    """Read a command line of options, a command, and its arguments.

    Args:
        words: The command line.
        options: What may stand before the command; each gets a value, also where it is not given.
        commands: The names of each command's arguments, and what it does.
        several: The argument that stands for any number of words, and is a list.

    Returns:
        The values of options, `cmd` and arguments; `None` where `argparse` shall look.
    """
    try:
        found = _options(words, options)
    except WrongValue:
        return None
    if found is None:
        return None
    values, rest = found
    if not rest or rest[0] not in commands or any(word.startswith("-") for word in rest):
        return None
    names, _ = commands[rest[0]]
    values["cmd"], given = rest[0], rest[1:]
    if list(names) == [several]:
        values[several] = given
    elif len(names) == len(given):
        values.update(zip(names, given, strict=True))
    else:
        return None
    return Arguments(values)


def _options(
    words: Sequence[str], options: Sequence[Option]
) -> tuple[dict[str, Any], list[str]] | None:
    """Return the options' values and the words behind them; `None` for what is not usual."""
    known = {option.flag: option for option in options}
    values: dict[str, Any] = {}
    rest = list(words)
    while rest and rest[0].startswith("--"):
        flag, equals, text = rest.pop(0).partition("=")
        option = known.get(flag)
        if option is None:
            return None
        if option.metavar is None:
            if equals:
                return None
            values[option.dest] = True
            continue
        if not equals and rest:
            text = rest.pop(0)
        if not text or text.startswith("-"):
            return None
        values[option.dest] = option.convert(text)
    for option in options:
        if option.dest not in values:
            values[option.dest] = option.from_environment()
    return values, rest
