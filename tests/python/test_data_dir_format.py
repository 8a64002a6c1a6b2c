"""Directories of servers that earlier versions of the format have written."""

from __future__ import annotations

import shutil
from pathlib import Path

import dht
from conftest import StartProgram
from harness import TESTS, run, script, wait_until
from ops import command
from rawwire import ask

SERVERS = TESTS.parent / "data" / "servers"


def test_a_directory_of_version_1_can_be_read(start: StartProgram, tmp_path: Path) -> None:
    """The directory in tests/data was written by version 1, with rows in both of its files."""
    path = tmp_path / "server"
    shutil.copytree(SERVERS / "version1", path)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    told = run(command("check-data", str(path))).stdout
    assert told == (SERVERS / "version1.txt").read_text(encoding="utf-8")
    for option, golden in [((), "version1.jsonl"), (("--local",), "version1-local.jsonl")]:
        done = run(command("export", *option, str(path)))
        assert (done.stderr, done.returncode) == ("", 0)
        assert done.stdout == (SERVERS / golden).read_text(encoding="utf-8")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    leader = start(script("viewleader.py", "--port", "0", "--lease", "1.5"))
    reach = ("--port", "0", "--viewleader", leader.address, "--heartbeat", "0.3")
    server = start(script("server.py", *reach, "--data-dir", str(path)))
    wait_until(lambda: ask(leader.port, {"cmd": "query_servers"})["result"], what="the server")
    with dht.Client(leader.address, server=server.address, timeout=15) as client:
        assert client.getr("apple") == {"colour": "red"}
        assert client.getr("k\u00e4se \ud800") == [None, True, 1.5]
        assert client.get("own") == "local"
        assert client.get("apple") == "covers"
