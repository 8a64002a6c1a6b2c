"""What `dht status` draws on a terminal, and that `--watch` outlives its view leader."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from rich.console import Console

from conftest import StartProgram
from dht.cli import _screen, _status, _table
from dht.status import LockStatus, RangeStatus, ServerFigures, ServerStatus, Status, Transfer
from harness import clean_env, script, wait_until
from ops import command
from rings import Ring

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLOURS = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
LONG = "a-host-with-a-name-that-is-longer-than-any-terminal.of-this-test.example:38000"


def busy(address: str = "a:1") -> Status:
    """A ring with one of everything."""
    figures = ServerFigures(
        "0.1.0", 10, 5, 1000, 0, (Transfer(address, "b:2", 0, 5000, 1, 2, 40, 100, 4, 10, 6.0),)
    )
    servers = (
        ServerStatus(address, "id", 1, 10.0, 5000, False, figures),
        ServerStatus("b:2", "id 2", 1, 10.0, 5000, False, None),
    )
    ranges = (
        RangeStatus(0, 5000, 1, "syncing", (address,), ("b:2",), ()),
        RangeStatus(5000, 10_000, 1, "waiting", ("gone:3",), (), ()),
    )
    locks = (LockStatus("[red]L", "one", 102, ("two", "[/]three")),)
    return Status("0.1.0", 3, 4, False, False, 40, servers, ranges, locks, 1, 100.0)


def drawn(status: Status, width: int, *, no_color: bool = False) -> str:
    """The screen as a terminal gets it."""
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, color_system="standard", width=width, no_color=no_color
    )
    console.print(_screen.picture(status))
    return file.getvalue()


def test_everything_is_on_the_screen() -> None:
    """What the plain lines say, in tables and a bar; names are no markup."""
    text = ESCAPES.sub("", drawn(busy(), 200))
    plain = "\n".join(_table.lines(busy()))
    for part in (
        "2 servers, epoch 3",
        "slots 0 to 4999, a:1 to b:2: 40 of 100 keys, 4 B of 10 B, 6 s left",
        "slots 5000 to 9999 for gone:3",
        '"two", "[/]three" and 100 more',
        '"[red]L"',
        "silent",
    ):
        assert part in text and part in plain, part
    assert "40%" in text and "━" in text and "━" not in plain
    assert re.search(r"^address +position", text, re.MULTILINE)
    empty = replace(busy(), servers=(), ranges=(), locks=())
    assert len(drawn(empty, 200).splitlines()) == 1


def test_nothing_is_left_out_where_it_is_narrow() -> None:
    """Cells fold instead; the plain lines are as long as they have to be."""
    text = "".join(ESCAPES.sub("", drawn(busy(LONG), 80)).split())
    assert "…" not in text
    for line in _table.lines(busy(LONG)):
        assert len(line) == len(line.rstrip())
    assert any(line.startswith(LONG) for line in _table.lines(busy(LONG)))
    assert COLOURS.search(drawn(busy(), 200)) is not None
    assert COLOURS.search(drawn(busy(), 200, no_color=True)) is None


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, argv: list[str], **env: str) -> None:
        self.text = ""
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            argv,
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=clean_env(**({"TERM": "xterm", "LINES": "50"} | env)),
        )
        os.close(theirs)
        self._ours = ours
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65_536)
            except OSError:  # what a terminal says once nobody has its other end
                return
            if not data:
                return
            self.text += data.decode()

    def ends(self) -> str:
        """Waits for the end; returns what was written to standard error."""
        _, errors = self.process.communicate(timeout=20)
        self._reader.join()
        os.close(self._ours)
        return errors.decode()


@contextmanager
def terminal(*args: str, **env: str) -> Iterator[Terminal]:
    """`dht` on a terminal, ended at the end."""
    program = Terminal(command(*args), **env)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.process.kill()
            program.ends()


def test_on_a_terminal(make_ring: Callable[..., Ring]) -> None:
    """Tables with colours; none with NO_COLOR; lines where nothing can be drawn."""
    ring = make_ring(2)
    asked = ("status", "--viewleader", ring.leader.address)
    for env, wanted in (({}, True), ({"NO_COLOR": "1"}, False)):
        with terminal(*asked, **env) as program:
            assert (program.ends(), program.process.returncode) == ("", 0)
            assert "─" in program.text
            assert (COLOURS.search(program.text) is not None) is wanted
            assert all(address in program.text for address in ring.addresses())
    with terminal(*asked, TERM="dumb") as program:
        assert (program.ends(), program.process.returncode) == ("", 0)
        assert "\x1b" not in program.text and "2 servers, epoch" in program.text


def watching(ring: Ring) -> tuple[str, ...]:
    return ("status", "--watch", "--interval", "0.05", "--viewleader", ring.leader.address)


def test_watch_outlives_the_view_leader(
    make_ring: Callable[..., Ring], start: StartProgram
) -> None:
    """It says that nobody answers, goes on asking, and shows the ring again; Ctrl-C ends it."""
    ring = make_ring(1)
    port = str(ring.leader.port)
    lines = start(command(*watching(ring)))
    objects = start(command(*watching(ring), "--json"))
    with terminal(*watching(ring)) as screen:
        wait_until(lambda: "1 server, epoch" in screen.text and lines.lines and objects.lines)
        ring.leader.kill()
        wait_until(lambda: "can't connect" in screen.text and "last look" in screen.text)
        wait_until(lambda: lines.errors and objects.errors)
        seen = len(lines.lines), len(objects.lines), len(screen.text)
        assert all(each.poll() is None for each in (lines.process, objects.process, screen.process))
        start(script("viewleader.py", "--port", port))
        wait_until(lambda: len(lines.lines) > seen[0] and len(objects.lines) > seen[1])
        # The last look of the old ring stands below the news; then one of the new ring comes.
        wait_until(lambda: screen.text[seen[2] :].rpartition("last look")[2].count(" epoch ") > 1)
        screen.process.send_signal(2)
        assert (screen.ends(), screen.process.returncode) == ("", 0)
    for program in (lines, objects):
        assert program.interrupt() == 0
        assert len(program.errors) == 1, "once for each time that it is away"
        # The leader may have been killed in the middle of an answer.
        said = ("dht status: can't connect to ", "dht status: no reply from ")
        assert program.errors[0].startswith(said)
        assert program.errors[0].endswith("; asking again")
    assert all("epoch" in json.loads(line) for line in objects.lines)
    assert not any("\x1b" in line for line in lines.lines)


@pytest.mark.parametrize(
    "module", ["dht", "dht.cli.client", "dht.cli.server", "dht.cli.viewleader"]
)
def test_only_the_screen_loads_rich(module: str) -> None:
    """Neither the package nor a command needs it; nor `dht`, before it draws."""
    code = f"import sys, {module}, dht.cli.dht; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_trouble_is_told_once_until_there_is_a_look(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe is not filled while nobody answers."""
    view = _status.Lines(as_json=True, again=True)
    for _ in range(3):
        view.trouble("no answer")
    assert view.show(busy())
    view.trouble("no answer")
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["dht status: no answer; asking again"] * 2
    assert json.loads(printed.out)["locks"][0]["queue"] == ["two", "[/]three"]
