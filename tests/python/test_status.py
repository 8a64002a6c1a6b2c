"""What `Client.status` and `dht status` say, and the progress of a long rebalance."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest

import dht
from conftest import StartProgram
from dht import common
from dht.cli import _table
from dht.status import RangeStatus, ServerFigures, ServerStatus, Status, Transfer
from harness import wait_until
from ops import ask, command
from rings import Ring, store
from slow_link import SlowLink

State = Literal["settled", "syncing", "dropping", "waiting"]
FIGURES = ServerFigures("0.1.0", 10, 5, 1000, 0, ())


def server(
    address: str, *, leaving: bool = False, figures: ServerFigures | None = FIGURES
) -> ServerStatus:
    return ServerStatus(address, f"id {address}", 1, 10.0, 5000, leaving, figures)


def held(*active: str, state: State = "settled", joining: tuple[str, ...] = ()) -> RangeStatus:
    return RangeStatus(0, 10_000, 1, state, active, joining, ())


def status(servers: list[ServerStatus], ranges: list[RangeStatus]) -> Status:
    percent = None if all(each.state == "settled" for each in ranges) else 0
    settled = percent is None
    return Status(
        "0.1.0", 3, 4, settled, False, percent, tuple(servers), tuple(ranges), (), 0, 100.0
    )


def test_restart_risks() -> None:
    """Every range needs two other copies that stay, or as many as there are other servers."""
    four = [server(name) for name in "abcd"]
    assert status(four, [held("a", "b", "c")]).restart_risks("a") == []
    few = status(four, [held("a", "b", state="syncing", joining=("c",))])
    assert few.restart_risks("a") == ["slots 0 to 9999 have 1 of 2 other copies"]
    assert few.restart_risks("c") == [], "it has no copy yet that counts"
    leaving = status([server("c", leaving=True), *four[:2], four[3]], [held("a", "b", "c")])
    assert leaving.restart_risks("a") == ["slots 0 to 9999 have 1 of 2 other copies"]
    assert status(four[:2], [held("a", "b")]).restart_risks("a") == []
    assert status(four[:1], [held("a")]).restart_risks("a")[0].startswith("no other server")
    waiting = status(four, [held("a", "gone", state="waiting")])
    assert waiting.restart_risks("a") == ["slots 0 to 9999 wait for a, gone"]
    assert replace(few, recovering=True).restart_risks("a")[0].startswith("the view leader")


def test_estimates_and_lines() -> None:
    """Two looks give the pace; a bar shows the share."""
    begun = Transfer("a", "b", 0, 5000, 1, 10, 10, 100, 100_000, 1_000_000)
    looks = [
        replace(
            status(
                [server("a", figures=replace(FIGURES, transfers=(each,))), server("b")],
                [held("a", state="syncing", joining=("b",))],
            ),
            taken_at=at,
            percent=40,
        )
        for each, at in [(begun, 10.0), (replace(begun, keys_done=40, bytes_done=400_000), 13.0)]
    ]
    assert looks[0].transfers[0].seconds_left is None
    assert looks[1].since(looks[1]).transfers[0].seconds_left is None
    later = looks[1].since(looks[0])
    assert later.transfers[0].seconds_left == pytest.approx(6.0)
    lines = _table.lines(later)
    assert lines[0].startswith("2 servers, epoch 3, revision 4, 10000 slots syncing")
    assert lines[-1] == (
        "  [########............]  40%  slots 0 to 4999, a to b: 40 of 100 keys, "
        "400.0 kB of 1.0 MB, 6 s left"
    )
    assert json.loads(later.to_json())["servers"][0]["restart_risks"]


def test_status_of_a_ring(make_ring: Callable[..., Ring]) -> None:
    """Every fact is there, as objects, as JSON, and as a table."""
    ring = make_ring(3)
    store(ring.connect(), {f"name-{number}": number for number in range(50)})
    with dht.Client(ring.leader.address) as client:
        for requestor in ("one", "two", "three"):
            request = {"cmd": "lock_get", "lockid": "L", "requestor": requestor}
            host, port = ring.leader.address.rsplit(":", 1)
            common.send_receive(host, int(port), request)
        said = client.status()
        assert isinstance(said, dht.Status)
        assert (said.settled, said.percent, said.slots("settled")) == (True, None, 10_000)
        assert said.program == dht.__version__
        assert {each.address for each in said.servers} == ring.addresses()
        assert sum(each.slots_primary for each in said.servers) == 10_000
        for each in said.servers:
            assert 0 < each.lease_left <= 1.5
            assert each.figures and each.figures.keys == 50
            assert each.figures.program == dht.__version__
        lock = said.locks[0]
        assert (lock.lock, lock.holder, lock.waiting, said.locks_held) == ("L", "one", 2, 1)
        assert lock.queue == ("two", "three")

    async def awaited() -> Status:
        async with dht.AsyncClient(ring.leader.address) as client:
            return await client.status()

    asked = asyncio.run(awaited())
    assert (asked.ranges, asked.locks) == (said.ranges, said.locks)
    assert [each.figures for each in asked.servers] == [each.figures for each in said.servers]
    printed, errors, code = ask(ring, "status", "--json")
    assert (errors, code, printed.count("\n")) == ("", 0, 1)
    assert json.loads(printed)["epoch"] == said.epoch
    assert json.loads(printed)["locks"][0]["queue"] == ["two", "three"]
    printed, errors, code = ask(ring, "status")
    assert (errors, code) == ("", 0)
    assert '  "L" held by "one", 2 waiting: "two", "three"\n' in printed
    assert "\x1b" not in printed
    assert all(f"{address} " in printed for address in ring.addresses())
    silent = ring.servers[0]
    with silent.paused(), dht.Client(ring.leader.address) as client:
        figures = {each.address: each.figures for each in client.status().servers}
    assert figures.get(silent.address) is None
    assert sum(each is not None for each in figures.values()) == 2


def test_watch(make_ring: Callable[..., Ring], start: StartProgram) -> None:
    """It prints again and again, and Ctrl-C ends it with status 0."""
    ring = make_ring(1)
    options = ("--watch", "--interval", "0.05", "--viewleader", ring.leader.address)
    watching = start(command("status", *options))
    wait_until(lambda: sum("1 server, epoch" in line for line in watching.lines) >= 3)
    assert watching.interrupt() == 0
    assert watching.errors == []


def test_the_rings_of_clusters() -> None:
    """Recorded clients see the figures too; in virtual time a silent server costs two seconds."""
    with dht.Cluster(servers=2, lease=2.0) as cluster, cluster.client() as client:
        client.setr("apple", 1)
        assert [each.figures and each.figures.keys for each in client.status().servers] == [1, 1]
    with dht.Cluster(servers=2, clock="virtual", seed=1) as cluster, cluster.client() as client:
        client.setr("apple", 1)
        before = cluster.monotonic()
        said = client.status()
        assert [each.figures and each.figures.keys for each in said.servers] == [1, 1]
        assert before < said.taken_at == cluster.monotonic() < before + 0.1
        silent = cluster.servers[0]
        silent.pause()
        later = client.status()
        assert later.taken_at - said.taken_at == pytest.approx(2, abs=0.1)
        figures = {each.address: each.figures for each in later.servers}
        assert figures.pop(silent.address) is None
        assert None not in figures.values()


def percents(ring: Ring) -> list[int]:
    """The progress lines of the last rebalance that has begun."""
    lines = list(ring.leader.lines)
    begun = max(number for number, line in enumerate(lines) if line == "Rebalancing...")
    found = [re.fullmatch(r"Rebalancing\.\.\. (\d+)%", line) for line in lines[begun:]]
    return [int(match[1]) for match in found if match]


def test_a_short_rebalance_prints_what_it_always_has(make_ring: Callable[..., Ring]) -> None:
    """Two lines for each, and no other."""
    ring = make_ring(2)
    store(ring.connect(), {f"name-{number}": number for number in range(50)})
    before = len(ring.leader.lines)
    ring.add(1)
    ring.leader.wait_line("Rebalancing complete")
    wait_until(lambda: ring.leader.lines[-1] == "Rebalancing complete")
    assert set(ring.leader.lines[before:]) == {"Rebalancing...", "Rebalancing complete"}


def test_progress_of_a_long_rebalance(make_ring: Callable[..., Ring]) -> None:
    """A joiner behind a slow link: lines at most once a second, and figures of the transfer."""
    ring = make_ring(1)
    store(ring.connect(), {f"name-{number}": "v" * 4_000 for number in range(1_500)})
    with SlowLink(1_500_000) as link, dht.Client(ring.leader.address) as client:
        began = time.monotonic()
        link.point(ring.begin("--advertise", link.address).port)
        ring.leader.wait_line("Rebalancing...")
        wait_until(lambda: percents(ring), what="a line with how far it is")
        first = client.status()
        assert first.percent is not None and first.slots("syncing") == 10_000
        assert {each.target for each in first.transfers} == {link.address}

        def later() -> Status | None:
            said = client.status().since(first)
            known = all(each.seconds_left is not None for each in said.transfers)
            return said if known else None

        estimated = wait_until(later, what="estimates of the time that is left")
        assert estimated
        for each in estimated.transfers:
            assert 0 < each.bytes_done < each.bytes and 0 < each.keys_done < each.keys
        printed, _, status = ask(ring, "status")
        assert status == 0 and "Syncing:\n  [" in printed and " s left" in printed, printed
        wait_until(lambda: len(percents(ring)) >= 2, what="a second line")
        link.open_up()
        ring.leader.wait_line("Rebalancing complete")
        wait_until(lambda: ring.leader.lines[-1] == "Rebalancing complete")
        seconds = time.monotonic() - began
    said = percents(ring)
    assert said == sorted(said) and 0 < said[-1] < 100
    assert 2 <= len(said) <= seconds
