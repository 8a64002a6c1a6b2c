"""`make bench` at a tiny scale: it starts what it measures, fills the table, writes its page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
import dht
import moving
import page
import parties
import serving
from harness import ROOT
from table import Row, Series, Table, Verdict

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def loader() -> parties.Loader:
    """The load generator, built as the tests of Rust build."""
    argv = ["cargo", "build", "--quiet", "--locked", "--features", "net", "--example", "load"]
    subprocess.run(argv, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return parties.Loader(target / "debug" / "examples" / "load")


@pytest.fixture
def gauge(loader: parties.Loader, monkeypatch: pytest.MonkeyPatch) -> Iterator[serving.Gauge]:
    """Measurements of a moment, without anything that may not be installed."""
    monkeypatch.setattr(serving, "installed", lambda _name: False)
    monkeypatch.setattr(serving, "KEYS", 200)
    yield serving.Gauge(loader, Table(), seconds=0.02, rounds=1)


def test_the_rows_are_measured(gauge: serving.Gauge) -> None:
    """Requests, replicated writes and confirmed reads, each with figures above zero."""
    serving.show_plain(gauge)
    serving.show_writes(gauge)
    serving.show_reads(gauge)
    rows = {row.what: row for row in gauge.table.rows}
    assert rows["setr, three copies, 8 clients"].ours.least > 0
    assert rows["getr, confirmed, 50 clients"].ours.least > 0
    kept = rows["get, kept open, 50 clients"]
    assert kept.others["limit"].least > 0
    assert [verdict.of for verdict in kept.verdicts] == ["x limit"]
    assert any("redis-server" in what and "apt install" in what for what in gauge.table.skipped)


def test_a_server_joins_a_ring_of_many_names(
    gauge: serving.Gauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is moved is counted, and what the clients noticed."""
    monkeypatch.setattr(moving, "BEFORE_SECONDS", 0.2)
    monkeypatch.setattr(moving, "JOINS", 2)
    moving.show_memory_and_join(gauge, 2_000)
    rows = {row.what: row for row in gauge.table.rows}
    assert set(rows["names moved for each that had to"].ours.values) == {1.0}
    assert len(rows["getr of slots that stay, while others move"].ours.values) == 2
    assert rows["speed of that over a bare copy"].ours.least > 0
    assert rows["speed of that over a bare copy, nobody asks"].ours.least > 0


def test_a_wrong_reply_ends_the_load(loader: parties.Loader) -> None:
    """Every reply is compared."""
    with parties.Parties(loader) as found:
        address = found.bare('{"status": "not_found"}').address
        with pytest.raises(RuntimeError, match="a wrong reply"):
            loader.call("run", dialect="frames", addr=address, work="get", count=1)


def test_the_page_has_the_table_and_plots(tmp_path: Path) -> None:
    """The table replaces what was between the marks, and nothing else."""
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    path = tmp_path / "performance.md"
    path.write_text(text, encoding="utf-8")
    table = Table()
    for clients in (1, 8, 50):
        ours = Series((1.0 * clients, 2.0 * clients, 3.0 * clients))
        row = Row("setr", f"setr, three copies, {clients} clients", "k/s", ours, {"Redis": ours})
        table.add(row.least_of("Redis", 1.0))
    table.skip("etcd is not installed: apt install etcd-server")
    page.write_page(table, path, "3 rounds of 1 s each")
    page.write_page(table, path, "3 rounds of 1 s each")
    written = path.read_text(encoding="utf-8")
    assert written.count("| setr, three copies, 50 clients | k/s | 100 | 50 .. 150 |") == 1
    assert "1 x Redis (>= 1: pass)" in written
    assert "- Skipped: etcd is not installed" in written
    before, _, rest = text.partition(page.START)
    assert written.startswith(before) and written.endswith(rest.partition(page.END)[2])
    plotted = (tmp_path / "performance-setr.svg").read_text(encoding="utf-8")
    assert plotted.startswith("<svg") and "Redis" in plotted


def test_a_debug_build_is_refused(
    loader: parties.Loader, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its figures would say nothing."""
    monkeypatch.setattr(dht, "build_profile", "debug")
    monkeypatch.setattr(sys, "argv", ["bench.py", "--loader", str(loader.program)])
    assert bench.main() == 2
    assert "debug build" in capsys.readouterr().err


def test_what_is_short_does_not_look_like_its_bound() -> None:
    """It gets as many digits as that takes, and three otherwise."""
    assert str(Verdict(0.89971, "x limit", 0.9)) == "0.8997 x limit (>= 0.9: short)"
    assert str(Verdict(0.90012, "x limit", 0.9)) == "0.9 x limit (>= 0.9: pass)"
    assert str(Verdict(10.04, "ms", 10.0, at_most=True)) == "10.04 ms (<= 10: short)"
    assert str(Verdict(0.48612, "x Redis", 0.5)) == "0.486 x Redis (>= 0.5: short)"
