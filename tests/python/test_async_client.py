"""`dht.AsyncClient`: calls, cancellation, event loops, forks, and the end of the program."""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
from pathlib import Path
from typing import Any

import pytest

import dht
from children import python
from fakes import FakeRing, silent
from harness import closed_port
from rings import Ring


def of(ring: Ring, **options: Any) -> dht.AsyncClient:
    """A client of a ring."""
    options = {"timeout": 15.0} | options
    return dht.AsyncClient(ring.leader.address, ring.servers[0].address, **options)


def test_the_same_methods() -> None:
    """Whatever the blocking client does to the ring, this one does, with the same arguments."""
    other = {"replicated", "over"}  # the mapping has a test of its own
    for name in vars(dht.Client):
        if not name.startswith("_") and name not in other:
            blocking = inspect.signature(getattr(dht.Client, name))
            awaited = inspect.signature(getattr(dht.AsyncClient, name))
            assert awaited.parameters == blocking.parameters, name


def test_every_call(ring: Ring) -> None:
    """Each gives what the blocking one gives."""

    async def main() -> None:
        async with of(ring) as client:
            assert await client.setr("apple", {"colour": "red"}) == 3
            assert await client.getr("apple") == {"colour": "red"}
            with pytest.raises(KeyError, match="no such name"):
                await client.getr("no such name")
            assert await client.setr_many({"a": 1, "b": [2]}) == {"a": 3, "b": 3}
            assert await client.getr_many(["a", "b", "c"]) == {"a": 1, "b": [2]}
            await client.set("own", 1)
            assert await client.get("own") == 1
            with pytest.raises(KeyError):
                await client.get("no such name")
            assert "own" in await client.query_all_keys()
            assert len(await client.query_servers()) == 3
            await client.print("good", "morning")
            assert await client.lock_get("L", "ann")
            assert not await client.lock_get("L", "bob", wait=False)
            assert await client.lock_release("L", "ann")
            assert not await client.lock_release("L", "ann")
            async with client.lock("L") as lock:
                assert lock.client
                with pytest.raises(TimeoutError, match="given back"):
                    async with client.lock("L", timeout=0.03):
                        raise AssertionError("it is held already")

    asyncio.run(main())


def test_thousands_at_once(ring: Ring) -> None:
    """They share a few connections, and each gets its own answer."""

    async def main() -> None:
        async with of(ring) as client:
            names = [f"many {number}" for number in range(2_000)]
            stored = await asyncio.gather(*(client.setr(name, name) for name in names))
            assert set(stored) == {3}
            assert await asyncio.gather(*map(client.getr, names)) == names

    asyncio.run(main())


def test_errors() -> None:
    """They have the classes that the blocking client's have."""

    async def main() -> None:
        with closed_port() as port:
            address = f"127.0.0.1:{port}"
            async with dht.AsyncClient(address, address) as client:
                with pytest.raises(dht.NoViewLeader):
                    await client.setr("a", 1)
                with pytest.raises(dht.NoViewLeader):
                    await client.lock_get("a", "ann")
                with pytest.raises(dht.ServerUnreachable):
                    await client.set("a", 1)
                with pytest.raises(dht.ManyFailed):
                    await client.getr_many(["a", "b"])
                with pytest.raises(TypeError, match="tuple"):
                    await client.setr("a", (1,))
        with silent() as address:
            async with dht.AsyncClient(address, address, timeout=0.2) as client:
                with pytest.raises(dht.OutcomeUnknown):
                    await client.set("a", 1)
        with pytest.raises(ValueError, match="HOST"):
            dht.AsyncClient("a b")

    asyncio.run(main())


def test_a_cancelled_call_leaves_its_reply_to_nobody() -> None:
    """Calls are cancelled at random points; all others get the value of their own name."""

    async def main(seed: int) -> None:
        chance = random.Random(seed)
        async with dht.AsyncClient(fake.address, fake.address) as client:

            async def read(name: str) -> bool:
                if chance.random() < 0.5:
                    assert await client.getr(name) == {"name": name}
                else:
                    wanted = [f"{name} {part}" for part in range(3)]
                    got = await client.getr_many(wanted)
                    assert got == {part: {"name": part} for part in wanted}
                return True

            async def cancelled(name: str) -> bool:
                try:
                    async with asyncio.timeout(chance.uniform(0, 0.02)):
                        return await read(name)
                except TimeoutError:
                    return False

            calls = [
                cancelled(f"{seed} {n}") if chance.random() < 0.5 else read(f"{seed} {n}")
                for n in range(60)
            ]
            ended = await asyncio.gather(*calls)
            assert not all(ended), "none was cancelled in time"
            assert any(ended)
            assert await client.getr("last") == {"name": "last"}

    with FakeRing(delay_s=0.002) as fake:
        for seed in range(5):
            asyncio.run(main(seed))


def test_a_cancelled_write_is_not_begun_again() -> None:
    """What was not sent is not sent any more, and what was lost is not tried again."""

    async def main() -> None:
        async with dht.AsyncClient(fake.address, timeout=30.0) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.setr("a", 1)
            await client.getr("b")
            writes = len([each for each in fake.requests if each["cmd"] == "dht_write"])
            assert writes >= 1
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.6)
            now = len([each for each in fake.requests if each["cmd"] == "dht_write"])
            assert now == writes

    def answer(request: dict[str, Any]) -> dict[str, Any] | None:
        return None if request["cmd"] == "dht_write" else fake.reply(request)

    with FakeRing(answer) as fake:
        asyncio.run(main())


def test_a_cancelled_wait_for_a_lock_gives_the_place_back() -> None:
    """At whatever point: while the view leader is asked, or between two questions."""

    async def main(leader: dht.ViewLeader) -> None:
        async with dht.AsyncClient(leader.address) as client:
            assert await client.lock_get("L", "ann")
            for wait in (0.0, 0.001, 0.003, 0.02, 0.05):
                waiting = asyncio.ensure_future(client.lock_get("L", "bob"))
                await asyncio.wait([waiting], timeout=wait)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert not await client.lock_release("L", "bob"), "the place is still there"
            assert await client.lock_release("L", "ann")

    with dht.ViewLeader() as leader:
        asyncio.run(main(leader))


def test_a_restart_of_the_view_leader_leaves_no_ghost(tmp_path: Path) -> None:
    """Who waited then goes on waiting; who gives up meanwhile is told what may be left behind."""

    async def main(cluster: dht.Cluster) -> None:
        async with dht.AsyncClient(cluster.viewleader.address) as client:
            assert await client.lock_get("L", "ann")
            bob = asyncio.ensure_future(client.lock_get("L", "bob", timeout=60))
            carol = asyncio.ensure_future(client.lock_get("L", "carol", timeout=0.8))
            dave = asyncio.ensure_future(client.lock_get("L", "dave"))
            await asyncio.wait([bob, carol, dave], timeout=0.2)
            cluster.viewleader.kill()
            with pytest.raises(TimeoutError, match=r"lock_release\('L', 'carol'\)"):
                await carol
            dave.cancel()
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await dave
            assert "lock_release('L', 'dave')" in cancelled.value.__notes__[0]
            assert not bob.done(), bob
            with pytest.raises(dht.NoViewLeader, match="can't connect"):
                await client.lock_get("M", "eve", timeout=60)
            await asyncio.to_thread(cluster.viewleader.restart)
            await asyncio.to_thread(cluster.wait_settled)
            for each in ("ann", "carol", "dave"):
                await client.lock_release("L", each)
            assert await bob
            assert await client.lock_release("L", "bob")
            with pytest.raises(dht.NoViewLeader, match="lock 'M' is still held by 'eve'"):
                async with client.lock("M", "eve"):
                    cluster.viewleader.kill()

    with dht.Cluster(1, data_dir=tmp_path) as cluster:
        asyncio.run(main(cluster))


CANCELLED = """
import asyncio, os, signal, sys, threading, time
import dht

async def wait():
    async with dht.AsyncClient(sys.argv[1], timeout=30) as client:
        {call}

took = []
for _ in range(3):
    sent = []
    def press():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.2, press).start()
    try:
        asyncio.run(wait())
    except KeyboardInterrupt:
        took.append(time.monotonic() - sent[0])
print(len(took), min(took))
"""


@pytest.mark.parametrize(
    "call",
    [
        "await client.lock_get('a', 'ann')",
        "await client.lock_get('a', 'ann', wait=False)",
        "await client.lock('a').__aenter__()",
        "await client.getr('a')",
        "await client.status()",
    ],
)
def test_ctrl_c_ends_a_wait_for_a_silent_view_leader(call: str) -> None:
    """Within a tenth of a second, and nothing is printed of it."""
    with silent() as address:
        times, took = python(CANCELLED.format(call=call), address).split()
    assert times == "3"
    assert float(took) < 0.1


def test_a_place_is_given_back_behind_a_cancelled_wait() -> None:
    """Where the view leader is slow: who asks again under the same name keeps what it gets."""

    async def main(cluster: dht.Cluster) -> None:
        async with dht.AsyncClient(cluster.viewleader.address) as client:
            await client.query_servers()
            cluster.viewleader.pause()
            first = asyncio.ensure_future(client.lock_get("L", "ann"))
            await asyncio.wait([first], timeout=0.05)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            again = asyncio.ensure_future(client.lock_get("L", "ann"))
            await asyncio.wait([again], timeout=0.05)
            cluster.viewleader.resume()
            assert await again
            assert not await client.lock_get("L", "bob", wait=False)

    with dht.Cluster(1) as cluster:
        for _ in range(5):
            asyncio.run(main(cluster))
            cluster.client().lock_release("L", "ann")


def test_a_cancelled_block_releases_its_lock() -> None:
    """Also where the cancellation comes while it is released."""

    async def hold(client: dht.AsyncClient, entered: asyncio.Event) -> None:
        async with client.lock("L", "ann"):
            entered.set()
            await asyncio.Event().wait()

    async def main(leader: dht.ViewLeader) -> None:
        async with dht.AsyncClient(leader.address) as client:
            for again in (False, True):
                entered = asyncio.Event()
                holding = asyncio.ensure_future(hold(client, entered))
                await entered.wait()
                holding.cancel()
                if again:
                    await asyncio.wait([holding], timeout=0)
                    holding.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await holding
                assert await client.lock_get("L", "bob", wait=False)
                assert await client.lock_release("L", "bob")

    with dht.ViewLeader() as leader:
        asyncio.run(main(leader))


def test_loops_one_after_another(ring: Ring) -> None:
    """One client works in each, whether or not the one before was closed well."""
    client = of(ring)

    async def once(number: int) -> Any:
        await client.setr("loop", number)
        return await client.getr("loop")

    assert [asyncio.run(once(number)) for number in range(3)] == [0, 1, 2]
    asyncio.run(client.close())


def test_loops_at_once(ring: Ring) -> None:
    """One client works in several threads' loops at the same time."""
    client = of(ring)
    wrong: list[object] = []

    async def many(number: int) -> None:
        names = [f"loops {number}.{turn}" for turn in range(200)]
        await asyncio.gather(*(client.setr(name, name) for name in names))
        if await asyncio.gather(*map(client.getr, names)) != names:
            wrong.append(number)

    def work(number: int) -> None:
        try:
            asyncio.run(many(number))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    asyncio.run(client.close())


def test_closing() -> None:
    """Calls under way end, later ones are refused, and closing again does nothing."""

    async def main(address: str) -> None:
        client = dht.AsyncClient(address, address, timeout=60.0)
        calls = [
            asyncio.ensure_future(call)
            for call in (client.setr("a", 1), client.get("a"), client.getr_many(["a", "b"]))
        ]
        await asyncio.wait(calls, timeout=0.05)
        await client.close()
        await client.close()
        for ended in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(ended, dht.OutcomeUnknown)
        with pytest.raises(ValueError, match="closed; make a new one"):
            await client.getr("a")

    with silent() as address:
        asyncio.run(main(address))


LEAVES = """
import asyncio, sys, threading
import dht

def work():
    async def main():
        client = dht.AsyncClient(sys.argv[1], sys.argv[1], timeout=60)
        started.set()
        await asyncio.gather(*(client.getr(str(n)) for n in range(100)), client.get("a"))
    asyncio.run(main())

started = threading.Event()
threading.Thread(target=work, daemon=True).start()
started.wait()

async def give_up():
    client = dht.AsyncClient(sys.argv[1], timeout=60)
    try:
        await asyncio.wait_for(client.setr("a", 1), 0.2)
    except TimeoutError:
        print("ends")

asyncio.run(give_up())
"""


def test_leaving_with_calls_under_way() -> None:
    """A program ends quietly, whatever is under way."""
    with silent() as address:
        assert python(LEAVES, address) == "ends\n"


FORKED = """
import asyncio, os, sys, warnings
import dht

warnings.simplefilter("ignore")

async def use(client):
    return await client.setr("fork", 1)

client = dht.AsyncClient(sys.argv[1], timeout=15)
assert asyncio.run(use(client)) == 3
child = os.fork()
if child == 0:
    try:
        asyncio.run(use(client))
    except RuntimeError as error:
        assert "forked child" in str(error), error
    else:
        raise SystemExit("no error")
    asyncio.run(client.close())
    own = dht.AsyncClient(sys.argv[1], timeout=15)
    print("child", asyncio.run(use(own)), flush=True)
    raise SystemExit
assert os.waitpid(child, 0)[1] == 0
print("parent", asyncio.run(use(client)))
"""


def test_after_a_fork(ring: Ring) -> None:
    """The parent's client says so, one of the child's own works, and the parent goes on."""
    assert python(FORKED, ring.leader.address) == "child 3\nparent 3\n"


def test_importing_is_cheap() -> None:
    """asyncio comes with the client that needs it, and no other heavy module before."""
    heavy = "{'asyncio', 'threading', 'logging', 'subprocess', 'socket', 'dht.aio'}"
    code = (
        f"import sys, dht; print(sorted({heavy} & set(sys.modules)));"
        " print(dht.AsyncClient.__name__, 'asyncio' in sys.modules, 'AsyncClient' in dir(dht))"
    )
    assert python(code) == "[]\nAsyncClient True True\n"
