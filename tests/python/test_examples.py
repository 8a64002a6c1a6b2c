"""The programs in `examples` do what they say."""

from __future__ import annotations

import os
import re
import socket
import sys

from harness import ROOT, run

TOOLING = [sys.executable, str(ROOT / "examples" / "original_tooling.py")]


def test_tooling_of_the_original() -> None:
    """Every check of the scripts is good, and nothing is left running."""
    done = run([*TOOLING, "0", "0"], seconds=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    *checks, last = done.stdout.splitlines()
    assert last == "all good"
    assert len(checks) >= 15
    assert all(line.startswith("ok   ") for line in checks)


def test_tooling_finds_its_port_taken() -> None:
    """It says which one and what to do, and starts nothing there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run([*TOOLING, str(port), "0"])
        assert done.returncode == 1
        wanted = f"FAIL port {port} is in use by another program; end that, or run "
        assert done.stdout == f"{wanted}original_tooling.py 0 0\n"
        assert done.stderr == ""


def test_tooling_uses_nothing_of_ours() -> None:
    """Only what a harness of the original had; and it is called as it stands."""
    text = (ROOT / "examples" / "original_tooling.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^(?:import|from) (\S+)", text, re.MULTILINE))
    allowed = {"json", "os", "socket", "struct", "subprocess", "sys", "tempfile", "time"}
    assert imported <= allowed | {"collections.abc", "typing"}
    assert os.access(ROOT / "examples" / "original_tooling.py", os.X_OK)
