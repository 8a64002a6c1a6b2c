"""Servers with `--data-dir`, on real processes: what comes back, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

import dht
from conftest import StartProgram
from dht import _dht
from harness import Program, clean_env, limited, run, script, wait_until
from ops import command
from rawwire import Closed, ask

FILE, LOG = "server.data", "server.log"


def server(leader: Program, path: Path, *options: str) -> list[str]:
    """The command line of a server with a directory."""
    reach = ("--port", "0", "--viewleader", leader.address, "--heartbeat", "0.3")
    return script("server.py", *reach, "--data-dir", str(path), *options)


def joined(leader: Program, count: int) -> None:
    """Waits until the view has so many servers and nothing moves."""

    def settled() -> bool:
        view = ask(leader.port, {"cmd": "query_servers", "dht": 1})
        return len(view["result"]) == count and bool(view["dht"]["settled"])

    wait_until(settled, what=f"{count} servers")


def content(path: Path) -> dict[str, bytes]:
    """All files of a directory."""
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("fsync", ["always", "never"])
def test_a_lone_server_comes_back_with_everything(
    start: StartProgram, tmp_path: Path, fsync: str
) -> None:
    """After `kill -9`: replicated values, its own, and whichever of two `get` shows."""
    leader = start(script("viewleader.py", "--port", "0", "--lease", "1.5"))
    first = start(server(leader, tmp_path, "--fsync", fsync))
    joined(leader, 1)
    with dht.Client(leader.address, server=first.address, timeout=15) as client:
        for number in range(20):
            client.setr(f"name{number}", {"number": number})
        client.set("own", ["mine"])
        client.set("name1", "covers")
    first.kill()
    again = start(server(leader, tmp_path))
    with dht.Client(leader.address, server=again.address, timeout=15) as client:
        assert client.getr_many(f"name{number}" for number in range(20)) == {
            f"name{number}": {"number": number} for number in range(20)
        }
        assert client.get("own") == ["mine"]
        assert client.get("name1") == "covers"


@pytest.mark.parametrize("fsync", ["always", "interval:20", "never"])
def test_in_python(tmp_path: Path, fsync: str) -> None:
    """`data_dir` is any path; the lock on it is free again as soon as `stop` returns."""
    options: dict[str, Any] = {"heartbeat": 0.2, "fsync": fsync, "bind": "127.0.0.1"}
    with dht.ViewLeader(listen=0, lease=1.0, bind="127.0.0.1") as leader:
        with dht.Server(leader.address, data_dir=tmp_path, **options) as node:
            with dht.Client(leader.address, server=node.address, timeout=15) as client:
                client.setr("apple", fsync)
            with pytest.raises(OSError, match="in use by another process"):
                dht.Server(leader.address, data_dir=str(tmp_path)).start()
        with (
            dht.Server(leader.address, data_dir=str(tmp_path), **options) as node,
            dht.Client(leader.address, server=node.address, timeout=15) as client,
        ):
            assert client.getr("apple") == fsync
            assert client.get("apple") == fsync
        with pytest.raises(ValueError, match="interval:MS"):
            dht.Server(leader.address, data_dir=tmp_path, fsync="interval:0").start()


def test_a_cluster_goes_on_from_its_directory(tmp_path: Path) -> None:
    """Every node is stopped, and others go on from what they had."""
    for value in range(2):
        with dht.Cluster(3, lease=1.0, data_dir=tmp_path) as cluster, cluster.client() as client:
            if value:
                assert client.getr("apple") == value - 1
            client.setr("apple", value)
            cluster.servers[0].restart()
            cluster.wait_settled()
            assert client.getr("apple") == value
    with pytest.raises(ValueError, match="data_dir"):
        dht.Cluster(clock="virtual", data_dir=tmp_path)


def refused(argv: list[str], **settings: Any) -> str:
    """The one line with which a program ends that does not use a directory."""
    done = run(argv, **settings)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (1, 1), (done.returncode, lines)
    return lines[0]


def test_directories_that_are_not_used(start: StartProgram, tmp_path: Path) -> None:
    """In use, damaged, newer, of a view leader: one line, status 1, untouched; also in the tool."""
    leader = start(script("viewleader.py", "--port", "0", "--data-dir", str(tmp_path / "leader")))
    path = tmp_path / "server"
    first = start(server(leader, path))
    joined(leader, 1)
    with dht.Client(leader.address, server=first.address, timeout=15) as client:
        client.setr_many({f"name{number}": "x" * 100 for number in range(100)})
        client.setr("last", 1)  # else a damaged frame might be the last, which counts as torn
    check = command("check-data", str(path))
    assert "in use by another process" in refused(server(leader, path))
    assert "in use by another process" in refused(check)
    assert "in use by another process" in refused(command("export", str(path)))
    first.kill()
    logged = content(path)
    spoilt = logged[LOG].replace(b"x" * 50, b"x" * 49 + b"y", 1)
    (path / LOG).write_bytes(spoilt)
    for argv in (server(leader, path), check):
        line = refused(argv)
        assert f"{LOG}: it is damaged (at byte " in line and "nothing was changed; " in line, line
        assert content(path) == logged | {LOG: spoilt}
    (path / LOG).write_bytes(logged[LOG])
    for gone in (LOG, FILE):
        (path / gone).rename(tmp_path / "aside")
        for argv in (server(leader, path), check, command("export", str(path))):
            assert f"{path / gone}: the file is missing; nothing was changed; " in refused(argv)
        (tmp_path / "aside").rename(path / gone)
    assert run(check).returncode == 0
    assert content(path) == logged, "check-data changes nothing"
    second = start(server(leader, path))  # what is in the log goes to the engine
    assert second.port
    second.kill()
    sound = (path / FILE).read_bytes()
    rest = {LOG: (path / LOG).read_bytes()}
    header = sound[:8] + struct.pack("<I", 2)
    newer = header + struct.pack("<I", zlib.crc32(header)) + sound[16:]
    for broken, word in [
        (sound.replace(b"x" * 50, b"x" * 49 + b"y"), "damaged"),
        (sound[: len(sound) // 2], "damaged"),
        (newer, "version 2"),
        (b"{}", "no server's data"),
    ]:
        (path / FILE).write_bytes(broken)
        for argv in (server(leader, path), check):
            line = refused(argv)
            assert word in line and "nothing was changed; " in line, line
            assert content(path) == rest | {FILE: broken}
    (path / FILE).write_bytes(sound)
    assert run(check).returncode == 0
    assert content(path) == rest | {FILE: sound}
    leader.kill()
    line = refused(server(leader, tmp_path / "leader"))
    assert "belongs to a view leader" in line
    line = refused(script("viewleader.py", "--port", "0", "--data-dir", str(path)))
    assert "belongs to a server" in line
    for bad in ("/proc", "/dev/null/data"):
        assert f"{bad}: " in (line := refused(server(leader, Path(bad))))
        assert line.endswith("; mend that, or choose another directory")
    (tmp_path / "file").write_bytes(b"")
    node = script("viewleader.py", "--port", "0", "--data-dir")
    for named, said in (
        (str(tmp_path / "file"), f"{tmp_path / 'file'} is no directory; "),
        ("", "the name of the directory is empty; "),
    ):
        for argv in ([*server(leader, path), "--data-dir", named], [*node, named]):
            assert said in refused(argv)
        assert said in refused(command("check-data", named))
        assert said in refused(command("export", named))
    absent = str(tmp_path / "absent")
    assert f"{absent}: there is no such directory; " in refused(command("check-data", absent))
    assert "neither" in refused(command("check-data", str(tmp_path)))
    wrong = run(server(leader, path, "--fsync", "interval:0")).stderr
    assert "argument --fsync: 'interval:0' is not always, interval:MS" in wrong


def test_a_full_disk(start: StartProgram, tmp_path: Path) -> None:
    """At the start: one line, status 1, untouched. Later: it ends, and no value is lost."""
    leader = start(script("viewleader.py", "--port", "0", "--lease", "1.5"))
    env = clean_env(PYTHONDONTWRITEBYTECODE="1")
    path = tmp_path / "server"
    for full in (8, 10_000):
        line = refused([*limited(full), *server(leader, path)], env=env)
        assert "(os error 27); raise the limit on the size of files" in line
        assert content(path) == {}
    first = start([*limited(400_000), *server(leader, path)], env=env)
    joined(leader, 1)
    stored: list[str] = []
    with (
        pytest.raises((OSError, dht.DhtError)),
        dht.Client(leader.address, server=first.address, timeout=3) as client,
    ):
        while len(stored) < 1_000:
            name = f"name{len(stored)}"
            client.set(name, "x" * 2_000)
            stored.append(name)
    assert first.wait() == 1
    first.wait_line("the disk cannot be written: ")
    assert stored
    before = content(path)
    done = run([*limited(10_000), *server(leader, path)], env=env)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert content(path) == before
    again = start(server(leader, path))
    joined(leader, 1)
    with dht.Client(leader.address, server=again.address, timeout=15) as client:
        assert [name for name in stored if client.get(name) != "x" * 2_000] == []


def test_a_disk_that_cannot_be_written(start: StartProgram, tmp_path: Path) -> None:
    """It is refused with the system's words. What is in `/proc` nobody can write, root neither."""
    leader = start(script("viewleader.py", "--port", "0"))
    path = tmp_path / "server"
    path.mkdir()
    (path / LOG).symlink_to("/proc/version")
    assert str(path) in refused(server(leader, path))


def test_export_and_import(start: StartProgram, tmp_path: Path) -> None:
    """What one ring had is in another, whatever JSON it was; a pair that is wrong is named."""
    leader = start(script("viewleader.py", "--port", "0", "--lease", "1.5"))
    path = tmp_path / "server"
    first = start(server(leader, path))
    joined(leader, 1)
    pairs = {
        "plain": 1,
        "käse \ud800 \U0001f9c0": {"a": [None, True, 1e300, "ü\n"]},
        "": "",
        "long": 10**5000,
    }
    many = {f"name{number}": number for number in range(1_500)}
    texts = [(json.dumps(name), _text(value)) for name, value in (pairs | many).items()]
    native = _dht.Client(viewleader=leader.address, timeout_ms=15_000)
    assert all(isinstance(each, list) for each in native.setr_many(texts))
    native.close()
    with dht.Client(server=first.address) as client:
        client.set("own", {"only": "here"})
    first.kill()
    exported = run(command("export", str(path)))
    assert (exported.stderr, exported.returncode) == ("", 0)
    wanted = {f'{{"name": {name}, "value": {text}}}' for name, text in texts}
    assert set(exported.stdout.splitlines()) == wanted
    local = run(command("export", "--local", str(path)))
    assert local.stdout == '{"name": "own", "value": {"only": "here"}}\n'
    file = tmp_path / "pairs.jsonl"
    file.write_text(exported.stdout + "\n", encoding="utf-8")
    other = start(script("viewleader.py", "--port", "0", "--lease", "1.5"))
    start(server(other, tmp_path / "other"))
    joined(other, 1)
    done = run(command("import", "--viewleader", other.address, str(file)))
    assert (done.stdout, done.stderr, done.returncode) == ("stored 1504 pairs\n", "", 0)
    native = _dht.Client(viewleader=other.address, timeout_ms=15_000)
    assert native.getr_many([name for name, _ in texts]) == [text for _, text in texts]
    native.close()
    file.write_text('{"name": "a", "value": 1}\n{"name": 1}\n', encoding="utf-8")
    done = run(command("import", "--viewleader", other.address, str(file)))
    assert (done.stdout, done.returncode) == ("stored 1 pairs\n", 1)
    assert done.stderr.startswith("dht import: error: line 2 is not of the form")
    file.write_bytes(b'{"name": "a", "value": 1}\n\n{"name": "b\xff", "value": 1}\n')
    done = run(command("import", "--viewleader", other.address, str(file)))
    assert (done.stdout, done.returncode) == ("stored 1 pairs\n", 1)
    assert done.stderr == ("dht import: error: line 3 is not UTF-8; nothing from it on is stored\n")
    done = run(command("import", "--viewleader", other.address, str(tmp_path / "absent")))
    assert (done.stdout, done.returncode) == ("", 1)
    assert f"error: can't read '{tmp_path / 'absent'}': No such file" in done.stderr
    assert "Errno" not in done.stderr and "; name a file of lines" in done.stderr
    other.kill()
    file.write_text('{"name": "lost", "value": 1}\n', encoding="utf-8")
    argv = command("import", "--viewleader", other.address, "--timeout", "0.5", str(file))
    done = run(argv)
    assert (done.stdout, done.returncode) == ("stored 0 pairs\n", 1)
    assert done.stderr.startswith('dht import: error: not stored: "lost": ')
    assert "--viewleader" in done.stderr and "`viewleader`" not in done.stderr


def _text(value: Any) -> str:
    return f"1{'0' * 5000}" if value == 10**5000 else json.dumps(value)


def test_what_check_data_says(start: StartProgram, tmp_path: Path) -> None:
    """Role, version, identity, ranges, keys, bytes and local values; of a view leader its own."""
    record = tmp_path / "leader"
    leader = start(script("viewleader.py", "--port", "0", "--data-dir", str(record)))
    path = tmp_path / "server"
    first = start(server(leader, path))
    joined(leader, 1)
    with dht.Client(leader.address, server=first.address, timeout=15) as client:
        client.setr("apple", 12)
        client.set("own", "1")
        assert client.lock_get("l", "me", wait=False)
    identity = ask(first.port, {"cmd": "dht_stats", "dht": 1})["id"]
    address = first.address
    leader.kill()  # first, so that it does not miss the server
    first.kill()
    lines = run(command("check-data", str(path))).stdout.splitlines()
    assert lines == [
        "role: server",
        "format version: 1",
        f"identity: {identity} (0 before it)",
        "epoch: 1",
        "slots: 0-9999",
        "keys: 1 (7 bytes of names and values)",
        "local values: 1 (6 bytes)",
        "remembered requests: 1",
        "sound: every checksum and every row is right",
    ]
    lines = run(command("check-data", str(record))).stdout.splitlines()
    assert lines[0] == "role: view leader"
    assert f"members: {address}" in lines and "locks: 1" in lines
    assert lines[-1].startswith("sound: ")
    for torn, at in ((path / LOG, path), (record / "leader.record", record)):
        whole = torn.read_bytes()
        torn.write_bytes(whole[:-1])
        done = run(command("check-data", str(at)))
        before_last, last = done.stdout.splitlines()[-2:]
        assert (done.stderr, done.returncode) == ("", 0)
        assert re.match(r"cut off: the last \d+ bytes of the log are no whole", before_last)
        assert last.startswith("sound: ")
        assert torn.read_bytes() == whole[:-1], "check-data changes nothing"
    shutil.rmtree(path)
    assert run(command("check-data", str(path))).returncode == 1


def test_a_connection_is_not_answered_by_a_server_without_disk(
    start: StartProgram, tmp_path: Path
) -> None:
    """A server whose disk has failed answers nobody any more."""
    leader = start(script("viewleader.py", "--port", "0", "--lease", "1.5"))
    env = clean_env(PYTHONDONTWRITEBYTECODE="1")
    first = start([*limited(200_000), *server(leader, tmp_path / "server")], env=env)
    joined(leader, 1)
    port = first.port
    with pytest.raises((OSError, Closed)):
        ask(port, {"cmd": "set", "key": "big", "val": "x" * 400_000})
    assert first.wait() == 1
    with pytest.raises((OSError, Closed)):
        ask(port, {"cmd": "get", "key": "big"})
