"""How values are printed: as Python 3 does, or byte for byte as Python 2 did.

Tools that compare the original's output set DHT_PY2_REPR=1. Then strings carry a `u`, long
integers an `L`, and dicts stand in the order of Python 2's hash table, which this module runs
again: its hash of strings, its table sizes, its probing.
"""

import math
from typing import Any

from dht._json import Digits

_MASK64 = (1 << 64) - 1
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_TABLE_MIN = 8
_GROWTH_BIG_FROM = 50_000

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def show(value: Any, *, py2: bool, native: bool = False) -> str:
    """Return what `print` shows of a reply.

    Args:
        value: What `json.loads` gives.
        py2: Whether in Python 2's form.
        native: Whether the program made the value itself instead of reading it from JSON; Python 2
            then had byte strings, which carry no `u`.

    Example:
        >>> show({"status": "ok", "value": "1"}, py2=True)
        "{u'status': u'ok', u'value': u'1'}"
    """
    if not py2:
        return repr(value)
    out: list[str] = []
    _write(value, out, native)
    return "".join(out)


def bare(value: Any, *, py2: bool) -> str:
    """Return what `%s` gives of a value: strings as they are, all else as `str` shows it.

    Args:
        value: What `json.loads` gives.
        py2: Whether in Python 2's form, where `str` of a float has 12 digits and `str` of a long
            integer no `L`.
    """
    if isinstance(value, str) or not py2:
        return str(value)
    if isinstance(value, float):
        return _float_12_digits(value)
    if isinstance(value, int):
        return str(value)
    return show(value, py2=True)


def _write(value: Any, out: list[str], native: bool) -> None:
    # One frame for each level of nesting: replies nest nearly as deep as Python's stack allows.
    if isinstance(value, dict):
        separator = "{"
        for key in _table_order(list(value)):
            out.append(separator)
            _write(key, out, native)
            out.append(": ")
            _write(value[key], out, native)
            separator = ", "
        out.append("}" if value else "{}")
    elif isinstance(value, list):
        separator = "["
        for item in value:
            out.append(separator)
            _write(item, out, native)
            separator = ", "
        out.append("]" if value else "[]")
    elif isinstance(value, Digits):
        out.append(f"{value}L")
    elif isinstance(value, str):
        out.append(_byte_string(value) if native else "u" + _quoted(value))
    elif isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        out.append(f"{value}L")
    else:
        out.append(repr(value))


def _quoted(text: str) -> str:
    """Return the string literal that Python 2 shows, without its `u`."""
    quote = '"' if "'" in text and '"' not in text else "'"
    return quote + "".join(_escaped(char, quote) for char in text) + quote


def _byte_string(text: str) -> str:
    """Return the literal of the UTF-8 bytes of `text`."""
    return _quoted(text.encode("utf-8", "surrogateescape").decode("latin-1"))


def _escaped(char: str, quote: str) -> str:
    if char == quote:
        return "\\" + char
    if " " <= char <= "~":
        return _ESCAPES.get(char, char)
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _float_12_digits(value: float) -> str:
    text = format(value, ".12g")
    if not math.isfinite(value) or "." in text or "e" in text:
        return text
    if len(text.lstrip("-")) < 12:
        return text + ".0"
    # All twelve digits stand before the point: Python 2 leaves no room for its `.0`.
    mantissa, exponent = format(value, ".11e").split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"


def _table_order(keys: list[str]) -> list[str]:
    """Return the order in which a Python 2 dict yields `keys`, put in one after the other."""
    if len(keys) < 2:
        return keys
    table: list[str | None] = [None] * _TABLE_MIN
    for used, key in enumerate(keys, start=1):
        _insert(table, key)
        if used * 3 >= len(table) * 2:
            table = _resized(table, used)
    return [key for key in table if key is not None]


def _resized(table: list[str | None], used: int) -> list[str | None]:
    least = used * (2 if used > _GROWTH_BIG_FROM else 4)
    size = _TABLE_MIN
    while size <= least:
        size *= 2
    larger: list[str | None] = [None] * size
    for key in table:
        if key is not None:
            _insert(larger, key)
    return larger


def _insert(table: list[str | None], key: str) -> None:
    mask = len(table) - 1
    perturb = _hash(key)
    index = perturb & mask
    probe = index
    while table[probe] is not None:
        index = index * 5 + perturb + 1
        probe = index & mask
        perturb >>= 5
    table[probe] = key


def _hash(text: str) -> int:
    """Return Python 2's 64-bit hash of a string, unsigned, for a build with wide characters."""
    if not text:
        return 0
    value = (ord(text[0]) << 7) & _MASK64
    for char in text:
        value = ((1000003 * value) & _MASK64) ^ ord(char)
    value ^= len(text)
    return value if value != _MASK64 else _MASK64 - 1
