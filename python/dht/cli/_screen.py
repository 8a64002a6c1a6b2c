"""What `dht status` draws on a terminal: tables and bars, by rich, which nothing else imports."""

import json
import time
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dht.cli import _output, _table
from dht.status import LockStatus, Status, Transfer

_BAR_WIDTH = 30
_ADDRESS_WIDTH = len("255.255.255.255:65535")


class Screen:
    """Shows a ring on a terminal; within `with`, each look takes the place of the one before."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._last: Status | None = None
        self._away_since: float | None = None

    def __enter__(self) -> Self:
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: Status) -> bool:
        """Show one look; say whether somebody can still see it."""
        self._last, self._away_since = status, None
        return self._draw(picture(status))

    def trouble(self, why: str) -> None:
        """Show that there is no newer look, above the last one."""
        if self._away_since is None:
            self._away_since = time.monotonic()
        seconds = time.monotonic() - self._away_since
        line = Text(f"{why}; asking again since {seconds:.0f} s; below is the last look", "red")
        self._draw(Group(line, Text(), picture(self._last)) if self._last else line)

    def _draw(self, what: RenderableType) -> bool:
        if self._live is None:
            with self._console.capture() as captured:
                self._console.print(what)
            return _output.out([captured.get().rstrip("\n")])
        try:
            self._live.update(what, refresh=True)
        except OSError:
            return False
        return True


def picture(status: Status) -> Group:
    """Return one look at a ring, to be drawn."""
    parts: list[RenderableType] = [Text(_table.summary(status), "bold")]
    if status.servers:
        parts += [Text(), _servers(status)]
    if status.transfers:
        parts += [Text(), Text("Syncing", "bold"), _transfers(status.transfers)]
    waiting = _table.waiting(status)
    if waiting:
        parts += [Text(), Text("Waiting", "bold"), *(Text(line, "red") for line in waiting)]
    if status.locks:
        parts += [Text(), Text(f"Locks ({status.locks_held} held)", "bold"), _locks(status.locks)]
    return Group(*parts)


def _servers(status: Status) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in _table.HEAD:
        text = name in ("address", "")
        # What is too long goes on in the next line: nothing is left out.
        width = _ADDRESS_WIDTH if name == "address" else None
        side: JustifyMethod = "left" if text else "right"
        table.add_column(name, justify=side, overflow="fold", min_width=width)
    for server in status.servers:
        row = [Text(cell) for cell in _table.server(status, server)]
        silent = server.identity is not None and server.figures is None
        row[-1].stylize(
            "red" if silent else "yellow" if status.restart_risks(server.address) else "green"
        )
        table.add_row(*row)
    return table


def _transfers(transfers: tuple[Transfer, ...]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for transfer in transfers:
        bar = ProgressBar(total=1.0, completed=transfer.share, width=_BAR_WIDTH)
        percent = Text(f"{transfer.share * 100:.0f}%")
        table.add_row(bar, percent, Text(_table.progress(transfer)))
    return table


def _locks(locks: tuple[LockStatus, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("lock", "holder", "waiting", "queue"):
        side: JustifyMethod = "right" if name == "waiting" else "left"
        table.add_column(name, justify=side, overflow="fold")
    for lock in locks:
        name, holder = json.dumps(lock.lock), json.dumps(lock.holder)
        table.add_row(Text(name), Text(holder), Text(str(lock.waiting)), Text(_table.queue(lock)))
    return table
