"""Rows about data on disk: durable writes, opening many names, and what they take."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from parties import ROOT, SCRIPTS, Parties, Party, ask, settled, wait_until
from serving import Gauge
from table import Row, Series

FOLDERS = ROOT / "target"
"""Where the data are: on the disk of this clone, for all parties alike."""

VALUE_BYTES = 16 + 32
OPENS = 3


class OnDisk(Parties):
    """Parties whose folders are on a disk, and servers that keep their data there."""

    fsync = "always"

    def folder(self) -> Path:
        """Return a folder for data."""
        FOLDERS.mkdir(exist_ok=True)
        made = tempfile.TemporaryDirectory(dir=FOLDERS, prefix="bench-")
        return Path(self._stack.enter_context(made))

    def server(self, leader: Party, *options: str, folder: Path | None = None) -> Party:
        """Start a server that keeps its data."""
        disk = ("--fsync", self.fsync, "--data-dir", str(folder or self.folder()))
        return super().server(leader, *disk, *options)


def show_disk(gauge: Gauge, keys: int) -> None:
    """Durable writes beside etcd, and how a server with many names starts."""
    show_durable_writes(gauge)
    show_opening(gauge, keys)


def show_durable_writes(gauge: Gauge) -> None:
    """Three servers that sync before they answer, and three members of etcd that do."""
    with OnDisk(gauge.loader) as parties:
        leader, _ = parties.ring(3)
        etcd = parties.etcd() if gauge.peer("etcd", "disk") else ""
        for clients in (1, 50):
            runs: dict[str, Callable[[], float]] = {
                "ours": gauge.rate("frames", leader.address, "setr", clients=clients)
            }
            if etcd:
                runs["etcd"] = gauge.rate("etcd", etcd, "setr", clients=clients)
            row = gauge.row("disk", f"durable setr, {clients} clients", "k/s", runs)
            if clients > 1:
                row.least_of("etcd", 1.5)
            gauge.table.add(row)


def show_opening(gauge: Gauge, keys: int) -> None:
    """A server that is started with all names in its directory, and its file."""
    with OnDisk(gauge.loader) as parties:
        parties.fsync = "never"
        leader = parties.viewleader()
        folder = parties.folder()
        first = parties.server(leader, folder=folder)
        wait_until(lambda: settled(leader, 1), "the server to have all slots")
        gauge.fill("frames", leader.address, "setr", keys)
        first.process.terminate()
        first.process.kill()
        first.process.wait()
        rates = [_open(parties, leader, folder, keys) for _ in range(OPENS)]
        ratios = Series(tuple(reading / opening for reading, opening in rates))
        seconds = Series(tuple(opening for _, opening in rates))
        row = Row("disk", f"start with {keys:,} names", "s", seconds)
        row.others["limit"] = Series(tuple(reading for reading, _ in rates))
        gauge.table.add(row)
        gauge.table.add(
            Row("disk", "speed of that over reading the bytes", "x", ratios).at_least(0.3)
        )
        taken = sum(file.stat().st_blocks * 512 for file in folder.iterdir()) / keys
        row = Row("disk", "on disk for a name", "B", Series((taken,)))
        row.others["limit"] = Series((VALUE_BYTES,))
        gauge.table.add(row)


def _open(parties: Parties, leader: Party, folder: Path, keys: int) -> tuple[float, float]:
    """How long its bytes take to be read, and it to listen with all names; both not from memory."""
    for file in folder.iterdir():
        _forget(file)
    began = time.perf_counter()
    for file in folder.iterdir():
        file.read_bytes()
    reading = time.perf_counter() - began
    for file in folder.iterdir():
        _forget(file)
    empty = time.perf_counter()
    bare = parties.start([sys.executable, str(SCRIPTS / "server.py"), "--quiet", "--port", "0"])
    began = time.perf_counter()
    assert isinstance(parties, OnDisk)
    server = parties.server(leader, folder=folder)
    opening = time.perf_counter() - began - (began - empty)
    assert ask(server.address, {"cmd": "dht_stats", "dht": 1})["keys"] == keys
    for party in (bare, server):
        party.process.kill()
        party.process.wait()
    return reading, opening


def _forget(file: Path) -> None:
    """Let the system drop what it has of a file in memory."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
