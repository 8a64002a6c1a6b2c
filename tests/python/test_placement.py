"""Hashing, placement and the plans of a change against the plain twin."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable

import pytest

import dht
import placement

Servers = list[tuple[str, int]]
NAMES = [f"name {number}" for number in range(300)]
SLOTS = range(10_000)


def drawn(rng: random.Random, count: int, first: int = 0) -> Servers:
    """Servers with addresses of their own; some at the same place, some at the ends."""
    places = [rng.choice([0, 1, 5000, 9999, *rng.choices(SLOTS, k=6)]) for _ in range(count)]
    return [(f"10.0.0.{first + index}:38000", place) for index, place in enumerate(places)]


def twin_at(servers: Iterable[tuple[str, int]], slot: int) -> list[str]:
    """The twin's holders of a slot."""
    ring = sorted((place, address) for address, place in servers)
    below = [index for index, (place, _) in enumerate(ring) if place < slot]
    first = below[-1] if below else len(ring) - 1
    return [ring[(first + step) % len(ring)][1] for step in range(min(3, len(ring)))]


def test_names_of_every_kind() -> None:
    """Any text has the twin's position, a lone surrogate included."""
    rng = random.Random(1)
    alphabet = "abc019 .é☃😀\ud800\udcff\n\0"
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(12))) for _ in range(500)]
    servers = drawn(rng, 9)
    assert [dht.hash_key(text) for text in texts] == [placement.position(text) for text in texts]
    assert dht.Ring(servers).replicas_many(texts) == [
        placement.replicas(servers, text) for text in texts
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9, 40])
def test_rings_of_every_size(count: int) -> None:
    """Every name's servers are the twin's, asked for singly, together, and by slot."""
    rng = random.Random(count)
    for _ in range(20):
        servers = drawn(rng, count)
        ring = dht.Ring(servers)
        wanted = [placement.replicas(servers, name) for name in NAMES[:50]]
        assert [ring.replicas(name) for name in NAMES[:50]] == wanted
        assert ring.replicas_many(NAMES[:50]) == wanted
        assert [ring.replicas_at(dht.hash_key(name)) for name in NAMES[:50]] == wanted
        assert ring.servers == tuple(sorted(servers, key=lambda server: server[::-1]))
        assert len(ring) == count


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_slots_of_a_server(count: int) -> None:
    """The ranges hold exactly the slots that the twin gives the server."""
    servers = drawn(random.Random(count), count)
    ring = dht.Ring(servers)
    placed = [twin_at(servers, slot) for slot in SLOTS]
    for address, _ in servers:
        held = [slot for part in ring.slots(address) for slot in part]
        assert held == [slot for slot in SLOTS if address in placed[slot]]
        led = [slot for part in ring.slots(address, primary=True) for slot in part]
        assert led == [slot for slot in SLOTS if address == placed[slot][0]]
    with pytest.raises(KeyError):
        ring.slots("nobody:1")


def test_a_ring_is_a_value() -> None:
    """Equal, hashable, printed as it is made, copied by pickle; it never changes."""
    pairs = [("b:1", 3000), ("a:1", 1000), ("c:1", 1000)]
    ring = dht.Ring(pairs)
    same = dht.Ring([list(pair) for pair in reversed(pairs)])
    assert ring == same
    assert hash(ring) == hash(same)
    assert len({ring, same, dht.Ring(ring)}) == 1
    assert ring != dht.Ring(pairs[:2])
    assert ring != pairs
    assert repr(ring) == "Ring([('a:1', 1000), ('c:1', 1000), ('b:1', 3000)])"
    assert eval(repr(ring), {"Ring": dht.Ring}) == ring
    assert pickle.loads(pickle.dumps(ring)) == ring
    ring.replicas("apple").clear()
    assert ring.without(["a:1"]).with_servers([("a:1", 1000)]) == ring == same


@pytest.mark.parametrize(
    ("servers", "error"),
    [
        ([("a:1", 10_000)], ValueError),
        ([("a:1", -1)], ValueError),
        ([("a:1", 1), ("a:1", 2)], ValueError),
        (["a:1"], TypeError),
        ([("a:1", "1")], TypeError),
        ([("a:1", 1, 2)], TypeError),
        ("a:1", TypeError),
        (5, TypeError),
    ],
    ids=str,
)
def test_what_is_no_ring(servers: object, error: type[Exception]) -> None:
    """The error says so at once."""
    with pytest.raises(error):
        dht.Ring(servers)  # type: ignore[arg-type]


def test_one_str_is_not_a_list_of_names() -> None:
    """Its letters would be taken for names, quietly."""
    ring = dht.Ring([("a", 1), ("b", 2)])
    for call in (
        lambda: ring.replicas_many("ab"),
        lambda: ring.moves(ring, "ab"),
        lambda: ring.without("ab"),
        lambda: dht.rebalancing_f(ring, "ab"),
    ):
        with pytest.raises(TypeError, match="not one str"):
            call()
    with pytest.raises(KeyError):
        dht.rebalancing_f(ring, ["c"])
    with pytest.raises(ValueError, match="listed twice"):
        dht.rebalancing_a(ring, [("a", 3)])
    with pytest.raises(ValueError, match="10000 is not from 0 to 9999"):
        ring.replicas_at(10_000)


def applied(plan: list[dht.Transfer], holders: list[set[str]]) -> int:
    """Carries a plan out, slot by slot; returns how many copies that took."""
    before = [set(held) for held in holders]
    copies = 0
    for start, end, source, target in plan:
        for slot in range(start, end):
            assert before[slot] == set() if source is None else source in before[slot]
            assert target not in holders[slot]
            holders[slot].add(target)
            copies += 1
    return copies


def fewest(before: list[set[str]], after: list[set[str]]) -> int:
    """One copy for each slot and each holder that did not have it."""
    return sum(len(new - old) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_the_plan_of_a_failure(seed: int) -> None:
    """It makes exactly the new ring's placement of the old one's, with the fewest copies."""
    rng = random.Random(seed)
    servers = drawn(rng, rng.randrange(1, 12))
    failed = [address for address, _ in rng.sample(servers, rng.randrange(min(4, len(servers))))]
    left = [server for server in servers if server[0] not in failed]
    before = [set(twin_at(servers, slot)) for slot in SLOTS]
    after = [set(twin_at(left, slot)) for slot in SLOTS]
    plan = dht.rebalancing_f(dht.Ring(servers), failed)
    holders = [held - set(failed) for held in before]
    assert applied(plan, holders) == fewest(before, after)
    assert holders == after
    assert plan == sorted(plan, key=lambda transfer: transfer.start)


@pytest.mark.parametrize("seed", range(12))
def test_the_plan_of_a_join(seed: int) -> None:
    """Once each slot's former holders have deleted it, exactly the new ring's placement is left."""
    rng = random.Random(seed)
    servers = drawn(rng, rng.randrange(10))
    added = drawn(rng, rng.randrange(1, 4), first=100)
    before = [set(twin_at(servers, slot)) for slot in SLOTS]
    after = [set(twin_at([*servers, *added], slot)) for slot in SLOTS]
    plan = dht.rebalancing_a(dht.Ring(servers), added)
    holders = [set(held) for held in before]
    assert applied(plan, holders) == fewest(before, after)
    assert [held & new for held, new in zip(holders, after, strict=True)] == after
    assert {transfer.target for transfer in plan} <= {address for address, _ in added}


@pytest.mark.parametrize("seed", range(12))
def test_moves_are_those_of_the_names(seed: int) -> None:
    """For each name its new holders, each from one that has it, the new primary for choice."""
    rng = random.Random(seed)
    servers = drawn(rng, rng.randrange(1, 10))
    others = rng.sample(servers, rng.randrange(len(servers) + 1)) + drawn(rng, 2, first=100)
    wanted = []
    for name in NAMES:
        old, new = placement.replicas(servers, name), placement.replicas(others, name)
        source = next((address for address in new if address in old), old[0])
        wanted += [dht.Move(name, source, address) for address in new if address not in old]
    assert dht.Ring(servers).moves(dht.Ring(others), iter(NAMES)) == wanted
    assert dht.Ring(servers).moves(dht.Ring(servers), NAMES) == []


def test_moves_agree_with_the_plan() -> None:
    """A name moves as its slot does."""
    ring = dht.Ring(drawn(random.Random(5), 6))
    gone = [ring.servers[2][0]]
    plan = dht.rebalancing_f(ring, gone)
    for name, source, target in ring.moves(ring.without(gone), NAMES):
        slot = dht.hash_key(name)
        of_slot = [each for each in plan if each.start <= slot < each.end]
        assert (source, target) in [(each.source, each.target) for each in of_slot]


def test_nobody_is_left() -> None:
    """A plan says so where a range has no holder any more, or has none yet."""
    ring = dht.Ring([("a:1", 10)])
    assert dht.rebalancing_a(dht.Ring(), ring) == [dht.Transfer(0, 10_000, None, "a:1")]
    assert dht.rebalancing_f(ring, ["a:1"]) == []
    four = ring.with_servers([("b:1", 20), ("c:1", 30), ("d:1", 40)])
    lost = [each for each in dht.rebalancing_f(four, ["a:1", "b:1", "c:1"]) if not each.source]
    assert lost == [dht.Transfer(11, 21, None, "d:1")]
