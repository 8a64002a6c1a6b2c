"""The lines that view leaders and servers print, made of the notes that their machines give.

Standard output holds what the original printed, word for word. What the original had no words for
goes to standard error.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from dht._json import loads
from dht.pyrepr import bare

_OUT = {
    "setting": "Setting key {key} to {value} in local store",
    "querying": "Querying stored value of {key}",
    "not_found": "Stored value of key {key} not found",
    "all_keys": "Returning all keys",
    "printing": "Printing {words}",
    "heartbeat_failed": "Can't update lease: {why}",
    "lease_refused": "Can't renew lease: {status}",
    "rebalancing": "Rebalancing...",
    "rebalancing_progress": "Rebalancing... {percent}%",
    "rebalancing_complete": "Rebalancing complete",
}

_ERR = {
    "renamed": "Lease expired; joining again as {requestor}",
    "unreachable": "The view leader can't reach {addr}; name another with --advertise",
    "waiting": "WAITING: {slots} slots wait for {holders} to come back (see --give-up-after)",
    "lost": "DATA LOST: {slots} slots start again empty; all that held them are gone: {holders}",
    "recovering": "Restarted; learning from the servers what they hold",
    "leaving": "Leaving the ring; handing over what this server holds",
    "leader_away": "Can't leave the ring: nobody listens where the view leader was",
    "not_handed_over": "DATA LOST: {keys} names end with this server; no other stays that could"
    " take them over, and it has no --data-dir",
    "left": "Left the ring",
}

_ERR_UNLESS_QUIET = {
    "joined": "Server {addr} joined at position {position}, epoch {epoch}",
    "failed": "Server {addr} is out of the view: {reason}, epoch {epoch}",
    "bad_frame": "Refused a message from {peer_ip}: {why}",
}


_REASONS = {
    "lease expired": "its lease has expired",
    "gone": "its process has ended",
    "restarted": "it was started again",
    "left": "it has left as planned",
}


class Lines(NamedTuple):
    """The lines of a batch of notes."""

    out: list[str]
    err: list[str]


def lines(notes: Iterable[tuple[str, str]], *, py2: bool, quiet: bool) -> Lines:
    """Return what to print for a batch of notes.

    Args:
        notes: Pairs of a kind and a JSON object, as the native module gives them.
        py2: Whether values are printed in Python 2's form.
        quiet: Whether to leave out servers that come and go; single requests make no notes then.
    """
    result = Lines([], [])
    for kind, text in notes:
        if kind in _OUT:
            result.out.append(_filled(_OUT[kind], text, py2))
        elif kind in _ERR:
            result.err.append(_filled(_ERR[kind], text, py2))
        elif not quiet:
            template = _ERR_UNLESS_QUIET.get(kind)
            result.err.append(_filled(template, text, py2) if template else f"{kind} {text}")
    return result


def _filled(template: str, text: str, py2: bool) -> str:
    try:
        return template.format_map(_shown(loads(text), py2))
    except (KeyError, RecursionError, ValueError):
        return f"{template} {text}"  # a value that Python cannot take must not stop a server


def _shown(fields: dict[str, Any], py2: bool) -> dict[str, str]:
    shown = {name: bare(value, py2=py2) for name, value in fields.items()}
    if "why" in fields:
        shown["reason"] = _REASONS.get(fields["why"], shown["why"])
    if "words" in fields:
        shown["words"] = " ".join(bare(word, py2=py2) for word in fields["words"])
    if "holders" in fields:
        shown["holders"] = ", ".join(fields["holders"]) or "servers that nobody knows"
    return shown
