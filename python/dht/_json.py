"""JSON as this package reads it: whatever a peer sends has a Python value that can be printed."""

import json
from typing import Any

_DIGITS_MAX = 4000  # Python refuses to convert integers of more than 4300 digits by default


class Digits(str):
    """An integer with more digits than Python converts; it prints as its text."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the digits without quotes."""
        return str(self)


def loads(text: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: Checked JSON, as the native module gives it.

    Returns:
        What `json.loads` gives, with integers that are too long for it as `Digits`.
    """
    return json.loads(text, parse_int=_integer)


def _integer(text: str) -> int | Digits:
    return int(text) if len(text) <= _DIGITS_MAX else Digits(text)
