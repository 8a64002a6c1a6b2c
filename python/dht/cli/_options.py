"""The options of the commands, which the environment may set too, and what they take.

What reads a command line is in `_parser`, and in `_quick` for those of `client.py` that are usual.
"""

from __future__ import annotations

import os

from dht._environment import TRUE_WORDS
from dht._limits import MESSAGE_BYTES_MAX, TRANSFER_BYTES_PER_S_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:  # a command does without them
    from collections.abc import Callable
    from typing import Any

_FALSE_WORDS = frozenset({"0", "false", "no", "off"})
_SECONDS_MAX = 1e9
FSYNC_INTERVAL_MS_MAX = 3_600_000
_FRAME_BYTES_MAX = 2**31 - 1  # what the length before a message can say


class WrongValue(ValueError):
    """A text that an option does not take; the message says what it takes."""


class Option:
    """One option and the environment variable that sets it where the option is not given.

    Args:
        flag: As it is typed, `--port`.
        env: The environment variable.
        convert: Makes a value of a text; `WrongValue` for one that is wrong.
        default: The value where nothing is said.
        metavar: What stands for its text in `--help`; `None` for a switch.
        help: What it does.
        default_text: The default for a reader, where `default` does not say it.
    """

    __slots__ = ("convert", "default", "default_text", "env", "flag", "help", "metavar")

    def __init__(
        self,
        flag: str,
        env: str,
        convert: Callable[[str], Any],
        default: Any,
        metavar: str | None,
        help: str,  # noqa: A002 - as argparse calls it
        default_text: str | None = None,
    ) -> None:
        self.flag = flag
        self.env = env
        self.convert = convert
        self.default = default
        self.metavar = metavar
        self.help = help
        self.default_text = default_text

    @property
    def dest(self) -> str:
        """The attribute that holds the value."""
        return self.flag.removeprefix("--").replace("-", "_")

    def from_environment(self) -> Any:
        """Return what the environment says, else the default; `WrongValue` for a wrong value."""
        text = os.environ.get(self.env, "")
        return self.convert(text) if text.strip() else self.default


_OPTION_OF = {
    "`viewleader`": "--viewleader",
    "`server`": "--server",
    "`message_bytes_max`": "--max-message-size",
}


def in_options(text: str) -> str:
    """Return an error's text with the options of commands in place of Python's arguments."""
    for argument, option in _OPTION_OF.items():
        text = text.replace(argument, option)
    return text


def port(text: str) -> int:
    """Convert a port number."""
    return _whole(text, 0, 65535, "a port number from 0 to 65535")


def message_bytes(text: str) -> int:
    """Convert a limit on messages."""
    return _whole(text, 1, _FRAME_BYTES_MAX, f"a number of bytes from 1 to {_FRAME_BYTES_MAX}")


def bytes_per_s(text: str) -> int:
    """Convert a rate, 0 for none."""
    most = TRANSFER_BYTES_PER_S_MAX
    return _whole(text, 0, most, f"a number of bytes from 0 to {most}")


def seconds(text: str) -> int:
    """Convert a span of seconds into milliseconds, one at least."""
    wanted = "a number of seconds above 0, such as 30 or 1.5"
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _SECONDS_MAX:
        raise WrongValue(f"{text!r} is not {wanted}")
    return max(1, round(value * 1000))


def host(text: str) -> str:
    """Check `HOST` or `HOST:PORT`."""
    name, colon, number = text.partition(":")
    wanted = "HOST or HOST:PORT"
    if not name or any(char.isspace() for char in text):
        raise WrongValue(f"{text!r} is not {wanted}")
    if colon and not (number.isascii() and number.isdigit() and 0 < int(number) <= 65535):
        raise WrongValue(f"{text!r} is not {wanted} with a port from 1 to 65535")
    return text


def switch(text: str) -> bool:
    """Convert yes or no."""
    word = text.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in _FALSE_WORDS:
        return False
    raise WrongValue(f"{text!r} is not 1 or 0")


def _whole(text: str, least: int, most: int, wanted: str) -> int:
    digits = text.strip()
    value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else -1
    if not least <= value <= most:
        raise WrongValue(f"{text!r} is not {wanted}")
    return value


def fsync(text: str) -> str:
    """Check `always`, `interval:MS` or `never`."""
    kind, _, digits = text.partition(":")
    if text in ("always", "never"):
        return text
    plain = digits.isascii() and digits.isdigit() and len(digits) < 12
    if kind == "interval" and plain and 1 <= int(digits) <= FSYNC_INTERVAL_MS_MAX:
        return text
    raise WrongValue(
        f"{text!r} is not always, interval:MS with MS from 1 to {FSYNC_INTERVAL_MS_MAX}, or never"
    )


VIEWLEADER = Option(
    "--viewleader",
    "DHT_VIEWLEADER",
    host,
    "localhost",
    "HOST",
    "the view leader: HOST, whose ports 39000 to 39009 are tried in order, or HOST:PORT",
)

MESSAGE_SIZE = Option(
    "--max-message-size",
    "DHT_MAX_MESSAGE_SIZE",
    message_bytes,
    MESSAGE_BYTES_MAX,
    "BYTES",
    "the longest message that is accepted or sent",
)

FSYNC = Option(
    "--fsync",
    "DHT_FSYNC",
    fsync,
    "always",
    "WHEN",
    "when it is synced to the disk: always, before anybody is told of it; interval:MS, so many"
    " milliseconds later at most, which may lose what was told in between; or never, which may lose"
    " more with the power, though nothing with the process",
)


def data_dir(what: str, without: str) -> Option:
    """Return the option that names a node's directory."""
    return Option(
        "--data-dir",
        "DHT_DATA_DIR",
        str,
        None,
        "DIR",
        f"the directory in which it keeps {what}, and from which it goes on after a restart; it is"
        " made where there is none",
        without,
    )


QUIET = Option(
    "--quiet",
    "DHT_QUIET",
    switch,
    False,
    None,
    "leave out the lines about single requests, except `print`, and about servers that come and go",
)


def listening(low: int, high: int) -> list[Option]:
    """Return the options about where a node listens."""
    ports = f"{low} to {high - 1}"
    return [
        Option(
            "--port",
            "DHT_PORT",
            port,
            None,
            "PORT",
            "the only port to try; 0 takes any free one, and the line `Listening on` tells which",
            f"the first of {ports} that is free",
        ),
        Option(
            "--bind",
            "DHT_BIND",
            str,
            "",
            "ADDRESS",
            "the local address to listen on",
            "all interfaces",
        ),
    ]
