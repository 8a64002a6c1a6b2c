"""Many names at once: `setr_many`, `getr_many`, and the mapping `replicated`."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest

import dht
from fakes import FakeRing, silent
from harness import closed_port, wait_until
from rings import Ring


@pytest.fixture
def client(ring: Ring) -> Iterator[dht.Client]:
    """A client of the shared ring."""
    with dht.Client(ring.leader.address, ring.servers[0].address, timeout=15.0) as client:
        yield client


def test_what_is_stored_comes_back(client: dht.Client) -> None:
    """More names than are under way at once, and of more bytes than a connection takes at once."""
    pairs: dict[str, Any] = {f"many {number}": {"n": number} for number in range(3_000)}
    pairs |= {f"long {number}": "x" * 500_000 for number in range(6)}
    assert client.setr_many(pairs) == dict.fromkeys(pairs, 3)
    assert client.getr_many(pairs) == pairs
    assert client.getr("many 7") == {"n": 7}


def test_names_and_results(client: dht.Client) -> None:
    """Missing names are left out, repeated ones read once, and `None` is a value."""
    assert client.setr_many([("twice", 1), ("nothing", None), ("twice", 2)]) == {
        "twice": 3,
        "nothing": 3,
    }
    got = client.getr_many(["nothing", "no such name", "twice", "twice", "\ud800"])
    assert list(got.items()) == [("nothing", None), ("twice", 2)]
    assert client.getr_many([]) == {}
    assert client.setr_many({}) == {}
    with pytest.raises(TypeError, match="not a single str"):
        client.getr_many("name")


def test_each_name_has_its_own_error(ring: Ring) -> None:
    """What is too long fails, the rest is done."""
    with dht.Client(ring.leader.address, timeout=15.0, message_bytes_max=1_000) as client:
        with pytest.raises(dht.ManyFailed, match="1 of 3 names failed, 0 of them") as caught:
            client.setr_many({"a": 1, "b": "x" * 2_000, "c": 3})
        assert isinstance(caught.value.errors["b"], dht.MessageTooLarge)
        assert caught.value.done == {"a": 3, "c": 3}


def test_nobody_there() -> None:
    """Every name fails, and none is in doubt."""
    names = [f"name {number}" for number in range(50)]
    with closed_port() as port, dht.Client(f"127.0.0.1:{port}") as client:
        with pytest.raises(dht.ManyFailed) as caught:
            client.setr_many(dict.fromkeys(names, 1))
        assert list(caught.value.errors) == names
        assert all(isinstance(e, dht.NoViewLeader) for e in caught.value.errors.values())


def test_writes_that_were_sent_are_in_doubt() -> None:
    """A server that takes a write and says nothing may have executed it; others are definite."""

    def answer(request: dict[str, Any]) -> dict[str, Any] | None:
        return None if request["key"].startswith("bad") else fake.reply(request)

    pairs = {"bad 1": 1, "good 1": 1, "bad 2": 2}
    with FakeRing(answer) as fake, dht.Client(fake.address, timeout=0.5) as client:
        with pytest.raises(dht.ManyFailed) as caught:
            client.setr_many(pairs)
        assert {type(caught.value.errors[name]) for name in ("bad 1", "bad 2")} == {
            dht.OutcomeUnknown
        }
        writes = [r["dht"] for r in fake.requests if r.get("key") == "bad 1"]
        assert len(writes) > 1, "it was tried again"
        assert len({(write["client"], write["number"]) for write in writes}) == 1
        assert all(write.get("repeated") for write in writes[1:])


def test_a_silent_ring_ends_in_time() -> None:
    """Names that had no turn fail as well, instead of waiting for each in turn."""
    names = [f"name {number}" for number in range(3_000)]
    with silent() as address, dht.Client(address, timeout=0.3) as client:
        with pytest.raises(dht.ManyFailed) as caught:
            client.getr_many(names)
        assert set(caught.value.errors) == set(names)
        assert all(isinstance(e, dht.DidNotHappen) for e in caught.value.errors.values())


def test_from_many_threads(client: dht.Client) -> None:
    """Each thread gets its own results."""
    wrong: list[object] = []

    def work(number: int) -> None:
        pairs = {f"thread {number}.{turn}": [number, turn] for turn in range(100)}
        for _ in range(3):
            if client.setr_many(pairs) != dict.fromkeys(pairs, 3):
                wrong.append(number)
            if client.getr_many(pairs) != pairs:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_closing_meanwhile() -> None:
    """A call that is under way goes on to its end, as others do."""
    with FakeRing(delay_s=0.05) as fake, dht.Client(fake.address) as client:
        ended: list[dict[str, Any]] = []
        names = [f"name {number}" for number in range(20)]
        thread = threading.Thread(target=lambda: ended.append(client.getr_many(names)))
        thread.start()
        wait_until(lambda: len(fake.requests) > 1, what="the call to be under way")
        client.close()
        thread.join(20)
        assert ended == [{name: {"name": name} for name in names}]


def test_the_mapping(make_ring: Any) -> None:
    """`replicated` behaves as a mapping does, without delete."""
    own = make_ring(4)
    with dht.Client(own.leader.address, own.servers[0].address, timeout=15.0) as client:
        values = client.replicated
        assert isinstance(values, MutableMapping)
        assert (len(values), list(values), dict(values)) == (0, [], {})
        values["b"] = 2
        values.update({"a": 1}, c=[3])
        assert values.setdefault("d", 4) == 4
        assert values.setdefault("a", 9) == 1
        assert list(values) == ["a", "b", "c", "d"]
        assert len(values) == 4
        held = {"a": 1, "b": 2, "c": [3], "d": 4}
        assert dict(values.items()) == held
        assert values == held
        assert sorted(map(str, values.values())) == ["1", "2", "4", "[3]"]
        assert "a" in values and "e" not in values
        assert not values.__contains__(7)
        assert values.get("e", "none") == "none"
        with pytest.raises(KeyError):
            values["e"]
        for name in ("alone", *held):  # at one server, whether or not that holds it for the ring
            client.set(name, "set")
        assert "alone" in client.query_all_keys()
        assert (list(values), len(values)) == (list(held), 4)
        assert dict(values) == held


def test_what_only_set_has_stored() -> None:
    """A server tells those apart that ask with `dht`; to others it says what it always did."""
    with dht.Cluster(4, clock="virtual", seed=1) as cluster:
        client = cluster.client()
        client.setr("both", 1)
        client.setr("ring", 1)
        holder = next(each for each in cluster.servers if each.address in cluster.where("both"))
        other = next(each for each in cluster.servers if each.address not in cluster.where("both"))
        for server in (holder, other):
            with cluster.client(server) as alone:
                alone.set("both", 2)
                alone.set("alone", 2)
                asked = {"cmd": "query_all_keys"}
                plain = alone._transport.call_server(json.dumps(asked))
                ours = json.loads(alone._transport.call_server(json.dumps(asked | {"dht": 1})))
            names = json.loads(plain)["result"]
            assert plain == json.dumps({"result": names})
            own = ["alone"] if server is holder else ["alone", "both"]
            assert ours == {"result": names, "dht": {"version": 1, "own": own}}
        assert list(client.replicated) == ["both", "ring"]
        assert dict(client.replicated) == {"both": 1, "ring": 1}


def test_the_mapping_has_no_delete(client: dht.Client) -> None:
    """It says so, and takes nothing away."""
    values = client.replicated
    values["kept"] = 1
    with pytest.raises(TypeError, match="no delete yet"):
        del values["kept"]
    calls: list[Callable[[], object]] = [lambda: values.pop("kept"), values.popitem, values.clear]
    for call in calls:
        with pytest.raises(TypeError, match="no delete yet"):
            call()
    assert values["kept"] == 1


def test_names_are_listed_although_a_server_has_died(make_ring: Any) -> None:
    """The list is asked for again until the view no longer has the server."""
    own = make_ring(3)
    with dht.Client(own.leader.address, timeout=15.0) as client:
        client.setr_many({f"name {number}": number for number in range(20)})
        own.kill(own.servers[0])
        assert len(client.replicated) == 20


def test_the_mapping_for_asyncio(make_ring: Any) -> None:
    """It does what the other does, with names for what cannot be awaited."""
    own = make_ring(4)

    async def main() -> None:
        async with dht.AsyncClient(
            own.leader.address, own.servers[0].address, timeout=15.0
        ) as client:
            values = client.replicated
            assert (await values.count(), [name async for name in values]) == (0, [])
            assert await values.put("b", 2) == 3
            await values.update({"a": 1}, c=[3])
            assert await values.setdefault("d", 4) == 4
            assert await values.setdefault("a", 9) == 1
            assert [name async for name in values] == ["a", "b", "c", "d"]
            by_name = values.keys()
            assert [name async for name in by_name] == ["a", "b", "c", "d"]
            assert await values.count() == 4
            held = {"a": 1, "b": 2, "c": [3], "d": 4}
            assert {name: value async for name, value in values.items()} == held
            assert [value async for value in values.values()] == list(held.values())
            assert await values["c"] == [3]
            assert await values.contains("a") and not await values.contains("e")
            assert not await values.contains(7)
            assert await values.get("e", "none") == "none"
            assert await values.get("a") == 1
            with pytest.raises(KeyError):
                await values["e"]
            await client.set("alone", 1)
            assert [name async for name in values] == list(held)
            own.kill(own.servers[0])
            assert await values.count() == 4

    asyncio.run(main())
