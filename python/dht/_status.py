"""How both clients look at a ring: what they ask, and what becomes of the answers."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from dht import _codec
from dht._transport import Transport
from dht.errors import DhtError
from dht.status import LockStatus, RangeStatus, ServerFigures, ServerStatus, Status, Transfer

ASK_TIMEOUT_S = 2.0
"""How long a server may take to say what it holds, before it counts as silent."""

ASKED_AT_ONCE = 16
"""How many servers are asked at the same time."""

LEADER_REQUEST = _codec.request("dht_status")
SERVER_REQUEST = _codec.request("dht_stats")


def take(transport: Transport) -> Status:
    """Look at a ring; raises what `Client.status` raises.

    Args:
        transport: What carries the calls.
    """
    said = transport.call_viewleader(LEADER_REQUEST)
    answers = _ask_all(addresses(said), transport)
    return decode(said, answers, time.monotonic() if transport.real else transport.monotonic())


def addresses(said: str) -> list[str]:
    """Return the servers to ask what they hold.

    Args:
        said: What the view leader has answered.
    """
    members = _codec.viewleader_reply(said)["dht"]["members"]
    return [member["addr"] for member in members if member["id"] is not None]


def decode(said: str, answers: Mapping[str, str | None], taken_at: float) -> Status:
    """Return what a view leader and its servers have told.

    Args:
        said: What the view leader has answered.
        answers: What the server at each address has; `None` where it did not.
        taken_at: When that was, in seconds.
    """
    reply = _codec.viewleader_reply(said)
    ring = reply["dht"]
    figures = {address: _figures(address, answer) for address, answer in answers.items()}
    return Status(
        program=ring["program"],
        epoch=ring["epoch"],
        revision=ring["revision"],
        settled=ring["settled"],
        recovering=ring["recovering"],
        percent=ring["percent"],
        servers=tuple(_server(member, figures) for member in ring["members"]),
        ranges=tuple(_range(each) for each in ring["ranges"]),
        locks=tuple(_lock(each) for each in reply["locks"]),
        locks_held=ring["locks_held"],
        taken_at=taken_at,
    )


def _server(member: dict[str, Any], figures: dict[str, ServerFigures | None]) -> ServerStatus:
    return ServerStatus(
        address=member["addr"],
        identity=member["id"],
        position=member["position"],
        lease_left=member["lease_left_ms"] / 1000,
        slots_primary=member["slots_primary"],
        leaving=member["leaving"],
        figures=figures.get(member["addr"]),
    )


def _range(said: dict[str, Any]) -> RangeStatus:
    active, joining, leaving = (tuple(said[name]) for name in ("active", "joining", "leaving"))
    return RangeStatus(
        said["start"], said["end"], said["revision"], said["state"], active, joining, leaving
    )


def _lock(said: dict[str, Any]) -> LockStatus:
    queue = tuple(said.get("queue", ()))  # which earlier leaders do not tell
    return LockStatus(said["lock"], said["holder"], said["waiting"], queue)


def _ask_all(wanted: list[str], transport: Transport) -> dict[str, str | None]:
    """Ask all servers at once, where time is real: one that is silent must not hold up others."""
    timeout_ms = _codec.milliseconds(ASK_TIMEOUT_S)

    def answer(address: str) -> str | None:
        try:
            return transport.call_address(address, SERVER_REQUEST, timeout_ms)
        except (DhtError, OSError):
            return None

    if not transport.real or not wanted:
        return {address: answer(address) for address in wanted}
    return _at_once(wanted, answer)


def _at_once(wanted: list[str], answer: Callable[[str], str | None]) -> dict[str, str | None]:
    """Ask on threads that nobody waits for: Ctrl-C ends this, though a server stays silent."""
    from queue import Empty, SimpleQueue
    from threading import Thread

    left: SimpleQueue[str] = SimpleQueue()
    told: SimpleQueue[tuple[str, str | Exception | None]] = SimpleQueue()

    def ask() -> None:
        try:
            while True:
                address = left.get_nowait()
                try:
                    told.put((address, answer(address)))
                except Exception as error:
                    told.put((address, error))
        except Empty:
            return

    for address in wanted:
        left.put(address)
    try:
        for _ in range(min(ASKED_AT_ONCE, len(wanted))):
            Thread(target=ask, daemon=True).start()
        answers: dict[str, str | None] = dict.fromkeys(wanted)
        for _ in wanted:
            address, said = told.get()
            if isinstance(said, Exception):
                raise said
            answers[address] = said
        return answers
    finally:
        with suppress(Empty):
            while True:
                left.get_nowait()


def _figures(address: str, answer: str | None) -> ServerFigures | None:
    if answer is None:
        return None
    try:
        said = _codec.server_reply(answer)
    except DhtError:
        return None
    counts = ("slots_done", "slots", "keys_done", "keys", "bytes_done", "bytes")
    transfers = tuple(
        Transfer(address, each["to"], each["start"], each["end"], *(each[name] for name in counts))
        for each in said.get("transfers", ())
    )
    return ServerFigures(
        said.get("program", ""),
        said["keys"],
        said["keys_primary"],
        said["bytes"],
        said["pending"],
        transfers,
    )
