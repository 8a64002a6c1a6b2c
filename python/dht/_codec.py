"""What both clients share: requests as JSON, and replies as Python values or errors."""

import json
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any

from dht._json import loads
from dht.errors import (
    DhtError,
    ManyFailed,
    NoViewLeader,
    Refused,
    ServerUnreachable,
)

TIMEOUT_S_MAX = 365 * 24 * 3600
"""The longest timeout of a client."""

_SCALARS = (str, int, float, bool, type(None))


def milliseconds(timeout: float) -> int:
    """Return a timeout in seconds as the native module takes it.

    Raises:
        ValueError: It is out of range.
        TypeError: It is no number.
    """
    wrong = f"a timeout is a number of seconds, more than 0, not {timeout!r}"
    try:
        fits = 0 < timeout <= TIMEOUT_S_MAX
    except TypeError:
        raise TypeError(wrong) from None
    if not fits:
        raise ValueError(wrong)
    return max(1, round(timeout * 1000))


def encode_name(name: str) -> str:
    """Return a name as JSON; `TypeError` for what is no string."""
    return encode_basestring_ascii(check_name(name))


def check_name(name: str) -> str:
    """Return a name; `TypeError` for what is no string."""
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, not {type(name).__name__}")
    return name


def encode_value(value: Any) -> str:
    """Return a value as JSON.

    Args:
        value: What comes back as it went in: `None`, `bool`, `int`, `float`, `str`, and lists and
            dicts of such, with strings for keys. `nan` and the infinities are taken too, although
            only Python calls them JSON.

    Returns:
        ASCII text.

    Raises:
        TypeError: A part of the value is something else. `json.dumps` alone would store a tuple
            as a list, and the keys 1 and True as "1" and "true".
        ValueError: The value contains itself, or is nested too deeply.
    """
    try:
        text = json.dumps(value)
    except TypeError:
        _check(value)
        raise
    except RecursionError:
        raise ValueError("the value is nested too deeply; store it in parts") from None
    if not isinstance(value, _SCALARS):
        _check(value)
    return text


def _check(value: Any) -> None:
    """Raise `TypeError` for a part that would not come back as it is."""
    rest, seen = [value], 0
    while rest:
        part = rest.pop()
        seen += 1
        if isinstance(part, _SCALARS):
            continue
        if isinstance(part, dict):
            for key in part:
                if not isinstance(key, str):
                    raise TypeError(
                        f"the key {key!r} of a dict is a {type(key).__name__}, and JSON has only"
                        " strings for keys; use str(key)"
                    )
            rest.extend(part.values())
        elif isinstance(part, list):
            rest.extend(part)
        elif isinstance(part, tuple):
            raise TypeError(
                f"{_short(part)} is a tuple, and would come back as a list; use list(value)"
            )
        else:
            raise TypeError(f"{_short(part)} is a {type(part).__name__}, which is no JSON value")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def decode_value(name: str, text: str | None) -> Any:
    """Return the value that was read under a name; `KeyError` where there is none."""
    if text is None:
        raise KeyError(name)
    return loads(text)


def encode_pairs(
    pairs: Mapping[str, Any] | Iterable[tuple[str, Any]],
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return names, and the same with their values as JSON; of a repeated name the last value."""
    wanted = dict(pairs)
    texts = [(encode_name(name), encode_value(value)) for name, value in wanted.items()]
    return list(wanted), texts


def encode_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return names, each once, and the same as JSON."""
    if isinstance(names, str):
        raise TypeError("the names are an iterable of str, not a single str; use [name]")
    wanted = list(dict.fromkeys(names))
    try:
        return wanted, list(map(encode_basestring_ascii, wanted))
    except TypeError:
        for name in wanted:
            check_name(name)
        raise


def decode_stored(names: Sequence[str], ends: Sequence[Any]) -> dict[str, int]:
    """Return how many servers hold each name; `ManyFailed` where some failed."""
    return _all_or_failed(
        {
            n: end if isinstance(end, DhtError) else len(end)
            for n, end in zip(names, ends, strict=True)
        }
    )


def decode_read(names: Sequence[str], ends: Sequence[Any]) -> dict[str, Any]:
    """Return the value of each name that has one; `ManyFailed` where some failed."""
    texts = [end for end in ends if type(end) is str]
    found = loads(f"[{','.join(texts)}]")
    if len(texts) == len(names):  # as is usual, and quicker
        return dict(zip(names, found, strict=True))
    values = iter(found)
    return _all_or_failed(
        {
            name: end if isinstance(end, DhtError) else next(values)
            for name, end in zip(names, ends, strict=True)
            if end is not None
        }
    )


def _all_or_failed(ends: dict[str, Any]) -> dict[str, Any]:
    errors = {name: end for name, end in ends.items() if isinstance(end, DhtError)}
    if not errors:
        return ends
    raise ManyFailed(errors, {name: end for name, end in ends.items() if name not in errors})


VIEW_REQUEST = json.dumps({"cmd": "query_servers"})
"""The question for the view; with `dht` its answer would tell all about the ring's ranges."""


def request(cmd: str, **fields: Any) -> str:
    """Return a request that says that the connection is kept open."""
    return json.dumps({"cmd": cmd, **fields, "dht": 1})


def get_request(name: str) -> str:
    """Return the request for what one server holds under a name."""
    return f'{{"cmd": "get", "key": {encode_name(name)}, "dht": 1}}'


def set_request(name: str, value: Any) -> str:
    """Return the request that stores a value on one server."""
    pair = f'"key": {encode_name(name)}, "val": {encode_value(value)}'
    return f'{{"cmd": "set", {pair}, "dht": 1}}'


def lock_request(command: str, lock: str, client: str) -> str:
    """Return a request about a lock."""
    for what, text in ("lock", lock), ("client", client):
        if not isinstance(text, str):
            raise TypeError(f"the name of a {what} is a str, not {type(text).__name__}")
    return request(command, lockid=lock, requestor=client)


def server_reply(text: str) -> dict[str, Any]:
    """Return a server's reply; an error where it is one."""
    return _reply(text, ServerUnreachable, "start server.py, or name its host with `server`")


def viewleader_reply(text: str) -> dict[str, Any]:
    """Return the view leader's reply; an error where it is one."""
    return _reply(text, NoViewLeader, "start viewleader.py, or name its host with `viewleader`")


def _reply(text: str, nobody: type[DhtError], remedy: str) -> dict[str, Any]:
    reply: dict[str, Any] = loads(text)
    error = reply.get("error")
    if error is None:
        return reply
    if str(error).startswith("can't connect"):
        raise nobody(f"{error}; {remedy}")
    raise Refused(f"the request was refused: {error}")


def decode_get(name: str, text: str) -> Any:
    """Return the value in the reply to `get`."""
    reply = server_reply(text)
    if reply.get("status") == "not_found":
        raise KeyError(name)
    return _field(reply, "value")


def decode_keys(text: str) -> list[str]:
    """Return the names in the reply to `query_all_keys`."""
    names: list[str] = _field(server_reply(text), "result")
    return names


def decode_ring_keys(text: str) -> list[str]:
    """Return the names in the reply to `query_all_keys` that the ring has.

    Left out are those that the server says only `set` has stored on it; one of an earlier version
    does not say.
    """
    reply = server_reply(text)
    said = reply.get("dht")
    own = set(said.get("own", ()) if isinstance(said, dict) else ())
    return [name for name in _field(reply, "result") if name not in own]


def decode_view(text: str) -> list[tuple[str, int]]:
    """Return the servers in the reply to `query_servers`."""
    result = _field(viewleader_reply(text), "result")
    return [(address, position) for address, position in result]


def decode_status(text: str) -> str:
    """Return the status in a reply about a lock."""
    return str(_field(viewleader_reply(text), "status"))


def _field(reply: dict[str, Any], name: str) -> Any:
    try:
        return reply[name]
    except KeyError:
        raise DhtError(f"the reply has no {name!r}; is this port another program's?") from None
