"""The view leader's record on disk, on real processes: `--data-dir`, and `data_dir` in Python."""

from __future__ import annotations

import resource
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dht
from chaos.workload import Workload
from conftest import StartProgram
from harness import TESTS, Program, answers, clean_env, limited, run, script, wait_until
from rawwire import Closed, ask
from rings import LEASE, Ring

FIXTURE = TESTS.parent / "data" / "records" / "version1"
FILE = "leader.record"


def restart(ring: Ring, *options: str) -> Program:
    """Starts the view leader again on its port, and waits until it answers."""
    port = ring.leader.port
    ring.leader = ring._start(script("viewleader.py", "--port", str(port), *LEASE, *options))
    wait_until(lambda: answers(port, "query_servers"), what="the view leader")
    return ring.leader


def lock(port: int, command: str, name: str, who: str) -> str:
    """What the view leader answers to a request for a lock."""
    reply = ask(port, {"cmd": command, "lockid": name, "requestor": who})
    return str(reply["status"])


def revision(port: int) -> int:
    """The highest revision that the view leader has given out."""
    return int(ask(port, {"cmd": "dht_stats", "dht": 1})["revision"])


def test_a_leader_that_is_killed_under_load_stands_by_what_it_said(
    make_ring: Callable[..., Ring], tmp_path: Path
) -> None:
    """Locks, queues, epoch, revision and denied identities survive `kill -9`; data do too."""
    record = ("--data-dir", str(tmp_path / "record"))
    ring = make_ring(4, leader_options=(*LEASE, *record))
    port = ring.leader.port
    load = Workload(ring.leader.address, [f"key{n}" for n in range(20)], 4, seed="record")
    try:
        load.served(3)
        assert lock(port, "lock_get", "l", "holder") == "granted"
        assert lock(port, "lock_get", "l", "waiter") == "retry"
        denied = {"cmd": "heartbeat", "port": 1, "requestor": "denied"}
        assert ask(port, denied)["status"] == "ok"
        wait_until(lambda: len(ring.view()) == 4, what="the end of its lease")
        assert ask(port, denied)["status"] == "deny"
        for _ in range(3):
            epoch, known = ring.epoch(), revision(port)
            ring.leader.kill()
            restart(ring, *record)
            assert (ring.epoch(), revision(port)) >= (epoch, known)
            assert len(ring.view()) == 4
            assert not ring.leader.saw("Restarted; learning")
            assert ask(port, denied)["status"] == "deny"
            assert lock(port, "lock_get", "l", "waiter") == "retry"
            assert lock(port, "lock_get", "l", "holder") == "granted"
            load.served(3)
        assert lock(port, "lock_release", "l", "holder") == "ok"
        assert lock(port, "lock_get", "l", "waiter") == "granted"
        epoch, known = ring.epoch(), revision(port)
        ring.add(1)
        assert ring.epoch() == epoch + 1
        assert revision(port) > known
        load.served(3)
    finally:
        load.stop()
    load.history.check()


def test_in_python(tmp_path: Path) -> None:
    """`data_dir` is any path; the lock on it is free again as soon as `stop` returns."""
    for fsync in ("always", "interval:20", "never"):
        path = tmp_path / fsync.replace(":", "-")
        with dht.ViewLeader(data_dir=path, fsync=fsync, listen=0) as leader:
            assert lock(leader.port, "lock_get", "l", "me") == "granted"
            with pytest.raises(OSError, match="in use by another process"):
                dht.ViewLeader(data_dir=str(path)).start()
        with dht.ViewLeader(data_dir=path, listen=0) as leader:
            assert lock(leader.port, "lock_get", "l", "other") == "retry"
    with pytest.raises(ValueError, match="always"):
        dht.ViewLeader(data_dir=tmp_path, fsync="often").start()


def refused(*options: str, **settings: Any) -> str:
    """The one line with which a view leader does not start."""
    done = run(script("viewleader.py", "--port", "0", *options), **settings)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (1, 1), (done.returncode, lines)
    return lines[0]


def test_directories_that_are_not_used(start: StartProgram, tmp_path: Path) -> None:
    """In use, damaged, of a newer version, not to be written: one line, status 1, untouched."""
    path = tmp_path / "record"
    first = start(script("viewleader.py", "--port", "0", "--data-dir", str(path)))
    for number in range(3):
        assert lock(first.port, "lock_get", f"l{number}", "me") == "granted"
    assert "in use by another process" in refused("--data-dir", str(path))
    first.kill()
    sound = (path / FILE).read_bytes()
    damaged = sound[:40] + bytes([sound[40] ^ 1]) + sound[41:]
    header = sound[:8] + struct.pack("<I", 3)
    newer = header + struct.pack("<I", zlib.crc32(header)) + sound[16:]
    for content, word in [(damaged, "damaged"), (newer, "version 3"), (b"{}", "no record")]:
        (path / FILE).write_bytes(content)
        assert word in refused("--data-dir", str(path))
        assert [file.name for file in path.iterdir()] == [FILE]
        assert (path / FILE).read_bytes() == content
    for bad in ("/proc", "/dev/null/record"):
        assert bad in refused("--data-dir", bad)
    assert "--fsync" in run(script("viewleader.py", "--fsync", "often")).stderr


def test_a_full_disk(start: StartProgram, tmp_path: Path) -> None:
    """At the start: one line, status 1. Later: it ends before it tells what is not on disk."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    argv = script("viewleader.py", "--port", "0", "--data-dir", str(tmp_path))
    done = run([*limited(8), *argv], env=clean_env(PYTHONDONTWRITEBYTECODE="1"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert list(tmp_path.iterdir()) == []
    leader = start([*limited(600), *argv], env=clean_env(PYTHONDONTWRITEBYTECODE="1"))
    granted: list[str] = []

    def full() -> bool:
        name = f"lock{len(granted)}"
        try:
            assert lock(leader.port, "lock_get", name, "me") == "granted"
        except (OSError, Closed):
            return True
        granted.append(name)
        return False

    wait_until(full, what="a full disk")
    assert leader.wait() == 1
    leader.wait_line("the disk cannot be written: ")
    assert granted
    again = start(argv)
    assert [lock(again.port, "lock_get", name, "other") for name in granted] == ["retry"] * len(
        granted
    )


def test_a_record_of_this_version_can_be_read(start: StartProgram, tmp_path: Path) -> None:
    """The directory in tests/data was written by version 1 of the format."""
    path = tmp_path / "record"
    shutil.copytree(FIXTURE, path)
    leader = start(script("viewleader.py", "--port", "0", "--data-dir", str(path)))
    view = ask(leader.port, {"cmd": "query_servers", "dht": 1})
    members = [["127.0.0.1:4004", 236], ["127.0.0.1:4001", 1579], ["127.0.0.1:4002", 2626]]
    assert (view["result"], view["epoch"], view["dht"]["revision"]) == (members, 5, 1)
    assert view["dht"]["ranges"] == [[0, 10_000, 1, [0], [], False]]
    assert lock(leader.port, "lock_get", "l", "waiter") == "retry"
    assert lock(leader.port, "lock_get", "l", "holder") == "granted"
    denied = {"cmd": "heartbeat", "port": 4003, "requestor": "denied"}
    assert ask(leader.port, denied)["status"] == "deny"
