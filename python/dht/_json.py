"""JSON as this package reads it: whatever a peer sends has a Python value that can be printed."""

from dht._dht import read_json


class Digits(str):
    """An integer with more digits than Python converts; it prints as its text."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the digits without quotes."""
        return str(self)


loads = read_json
"""Returns what `json.loads` gives of a JSON text, with integers too long for it as `Digits`."""


def quote(text: str) -> str:
    """Return a string as `json.dumps` writes it, which is imported only where it is needed."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    from json.encoder import encode_basestring_ascii

    return encode_basestring_ascii(text)
