"""The lines of `dht status` without a terminal: plain text that keeps its form for programs."""

import json
from collections.abc import Sequence

from dht.status import LockStatus, ServerStatus, Status, Transfer

_BAR_WIDTH = 20
HEAD = ("address", "position", "lease left", "slots as primary", "keys", "bytes", "version", "")


def lines(status: Status) -> list[str]:
    """Return what to print for one look at a ring."""
    result = [summary(status)]
    rows = [HEAD, *(server(status, each) for each in status.servers)]
    if len(rows) > 1:
        result += ["", *_columns(rows)]
    moving = [_transfer(transfer) for transfer in status.transfers]
    if moving:
        result += ["", "Syncing:", *moving]
    wait = waiting(status)
    if wait:
        result += ["", "Waiting:", *(f"  {line}" for line in wait)]
    if status.locks:
        result += ["", f"Locks ({status.locks_held} held):"]
        for lock in status.locks:
            name, holder = json.dumps(lock.lock), json.dumps(lock.holder)
            names = queue(lock)
            text = f"  {name} held by {holder}, {lock.waiting} waiting"
            result.append(f"{text}: {names}" if names else text)
    return result


def summary(status: Status) -> str:
    """Return the ring in one line."""
    states = [
        f"{status.slots(state)} slots {state}" for state in ("settled", "syncing", "dropping")
    ]
    states = [text for text in states if not text.startswith("0 ")]
    wait = status.slots("waiting")
    states += [f"{wait} slots waiting"] if wait else []
    states += ["recovering"] if status.recovering else []
    states += [f"rebalancing {status.percent}%"] if status.percent is not None else []
    count = len(status.servers)
    ring = f"{count} server{'' if count == 1 else 's'}, epoch {status.epoch}"
    return ", ".join([ring, f"revision {status.revision}", *states, f"version {status.program}"])


def waiting(status: Status) -> list[str]:
    """Return for each range that waits, whom it waits for."""
    ranges = [each for each in status.ranges if each.state == "waiting"]
    return [f"slots {each.start} to {each.end - 1} for {', '.join(each.active)}" for each in ranges]


def queue(lock: LockStatus) -> str:
    """Return the names of those who wait for a lock, next one first."""
    names = ", ".join(json.dumps(name) for name in lock.queue)
    more = lock.waiting - len(lock.queue)
    return f"{names} and {more} more" if names and more > 0 else names


def server(status: Status, server: ServerStatus) -> tuple[str, ...]:
    """Return a server's cells under `HEAD`."""
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
    return f"  [{bar}] {transfer.share * 100:3.0f}%  {progress(transfer)}"


def progress(transfer: Transfer) -> str:
    """Return what moves from where to where, and how far it is."""
    left = transfer.seconds_left
    time_left = "" if left is None else f", {left:.0f} s left"
    return (
        f"slots {transfer.start} to {transfer.end - 1}, {transfer.source} to {transfer.target}: "
        f"{transfer.keys_done} of {transfer.keys} keys, "
        f"{size(transfer.bytes_done)} of {size(transfer.bytes)}{time_left}"
    )


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{value:.1f} {units[0]}"
