"""The lines of `dht status`, made by hand: plain text needs no library, and goes through a pipe."""

import json
from collections.abc import Sequence

from dht.status import ServerStatus, Status, Transfer

_BAR_WIDTH = 20
_HEAD = ("address", "position", "lease left", "slots as primary", "keys", "bytes", "version", "")


def lines(status: Status) -> list[str]:
    """Return what to print for one look at a ring."""
    result = [_summary(status)]
    rows = [_HEAD, *(_server(status, server) for server in status.servers)]
    if len(rows) > 1:
        result += ["", *_columns(rows)]
    moving = [_transfer(transfer) for transfer in status.transfers]
    if moving:
        result += ["", "Syncing:", *moving]
    waiting = [each for each in status.ranges if each.state == "waiting"]
    if waiting:
        result += ["", "Waiting:"]
        for each in waiting:
            holders = ", ".join(each.active)
            result.append(f"  slots {each.start} to {each.end - 1} for {holders}")
    if status.locks:
        result += ["", f"Locks ({status.locks_held} held):"]
        for lock in status.locks:
            name, holder = json.dumps(lock.lock), json.dumps(lock.holder)
            result.append(f"  {name} held by {holder}, {lock.waiting} waiting")
    return result


def _summary(status: Status) -> str:
    states = [
        f"{status.slots(state)} slots {state}" for state in ("settled", "syncing", "dropping")
    ]
    states = [text for text in states if not text.startswith("0 ")]
    waiting = status.slots("waiting")
    states += [f"{waiting} slots waiting"] if waiting else []
    states += ["recovering"] if status.recovering else []
    states += [f"rebalancing {status.percent}%"] if status.percent is not None else []
    count = len(status.servers)
    ring = f"{count} server{'' if count == 1 else 's'}, epoch {status.epoch}"
    return ", ".join([ring, f"revision {status.revision}", *states, f"version {status.program}"])


def _server(status: Status, server: ServerStatus) -> tuple[str, ...]:
    figures = server.figures
    held = (str(figures.keys), size(figures.bytes), figures.program) if figures else ("?",) * 3
    marks = ["leaving"] if server.leaving else []
    if server.identity is None:
        marks.append("original")
    elif figures is None:
        marks.append("silent")
    marks.append("needed" if status.restart_risks(server.address) else "restart-safe")
    return (
        server.address,
        str(server.position),
        f"{server.lease_left:.1f} s",
        str(server.slots_primary),
        *held,
        ", ".join(marks),
    )


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    result = []
    for row in rows:
        first = row[0].ljust(widths[0])
        middle = [text.rjust(width) for text, width in zip(row[1:-1], widths[1:-1], strict=True)]
        result.append("  ".join([first, *middle, row[-1]]).rstrip())
    return result


def _transfer(transfer: Transfer) -> str:
    filled = int(transfer.share * _BAR_WIDTH)
    bar = "#" * filled + "." * (_BAR_WIDTH - filled)
    left = transfer.seconds_left
    time_left = "" if left is None else f", {left:.0f} s left"
    return (
        f"  [{bar}] {transfer.share * 100:3.0f}%  slots {transfer.start} to {transfer.end - 1}, "
        f"{transfer.source} to {transfer.target}: {transfer.keys_done} of {transfer.keys} keys, "
        f"{size(transfer.bytes_done)} of {size(transfer.bytes)}{time_left}"
    )


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{value:.1f} {units[0]}"
