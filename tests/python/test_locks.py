"""Locks of the view leader: waiting, timeouts, `with`, and what becomes of a lost one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import dht
from harness import wait_until


@pytest.fixture(scope="module")
def leader() -> Iterator[dht.ViewLeader]:
    """A view leader; locks need no server."""
    with dht.ViewLeader() as leader:
        yield leader


@pytest.fixture
def client(leader: dht.ViewLeader) -> Iterator[dht.Client]:
    """A client of it."""
    with dht.Client(leader.address, timeout=15.0) as client:
        yield client


def test_first_come_first_served(client: dht.Client) -> None:
    """Waiters are granted the lock in the order in which they came."""
    order: list[str] = []

    def wait(name: str) -> None:
        assert client.lock_get("queue", name)
        order.append(name)
        assert client.lock_release("queue", name)

    assert client.lock_get("queue", "ann")
    threads = []
    for name in ("bob", "carol", "dave"):
        threads.append(threading.Thread(target=wait, args=(name,)))
        threads[-1].start()
        # Each has asked once the next begins: a request of its own would be refused otherwise.
        wait_until(lambda name=name: _is_waiting(client, name), what=f"{name} to wait")  # type: ignore[misc]
    assert client.lock_release("queue", "ann")
    for thread in threads:
        thread.join(20)
    assert order == ["bob", "carol", "dave"]


def _is_waiting(client: dht.Client, name: str) -> bool:
    """Whether a requestor has a place: asking under its name keeps the place that it has."""
    request = f'{{"cmd": "lock_get", "lockid": "queue", "requestor": "{name}"}}'
    return "retry" in client._transport.call_viewleader(request)


def test_a_timeout_gives_the_place_back(client: dht.Client) -> None:
    """Nobody is kept waiting by somebody who has gone."""
    assert client.lock_get("short", "ann")
    with pytest.raises(TimeoutError, match="'short' was not granted to 'bob' within"):
        client.lock_get("short", "bob", timeout=0.05)
    assert client.lock_release("short", "ann")
    assert client.lock_get("short", "carol", wait=False)
    assert not client.lock_release("short", "bob")


def test_asking_once(client: dht.Client) -> None:
    """Without `wait` no place in the queue is kept."""
    assert client.lock_get("once", "ann", wait=False)
    assert client.lock_get("once", "ann", wait=False), "who has it is granted it again"
    assert not client.lock_get("once", "bob", wait=False)
    assert not client.lock_release("once", "bob")
    with pytest.raises(TimeoutError):
        client.lock_get("once", "bob", timeout=0)


def test_with(client: dht.Client) -> None:
    """The block holds the lock, under a name that nobody else has, and can be used again."""
    lock = client.lock("block")
    with lock:
        first = lock.client
        assert not client.lock_get("block", "bob", wait=False)
        with pytest.raises(RuntimeError, match="make another"), lock:
            raise AssertionError("it is held already")
        with pytest.raises(TimeoutError), client.lock("block", timeout=0.02):
            raise AssertionError("it is held already")
    assert client.lock_get("block", "bob", wait=False)
    assert client.lock_release("block", "bob")
    with lock:
        assert lock.client != first
    with client.lock("block", "ann") as named:
        assert named.client == "ann"


def test_the_body_raises(client: dht.Client) -> None:
    """The lock is released all the same, and the error comes out."""
    with pytest.raises(ZeroDivisionError), client.lock("raises"):
        raise ZeroDivisionError
    assert client.lock_get("raises", "bob", wait=False)


def test_a_lock_that_was_lost(client: dht.Client) -> None:
    """A block that did not hold it to the end is told."""
    with pytest.raises(dht.LockLost, match="look at what the lock protects"):  # noqa: SIM117
        with client.lock("lost", "ann"):
            client.lock_release("lost", "ann")
    with pytest.raises(ZeroDivisionError) as caught, client.lock("lost", "ann"):
        client.lock_release("lost", "ann")
        raise ZeroDivisionError
    assert "no longer held" in caught.value.__notes__[0]


def test_no_view_leader_at_the_release() -> None:
    """The error says that the lock may still be held, and hides no error of the body's."""
    with dht.ViewLeader() as leader, dht.Client(leader.address, timeout=1.0) as client:
        with pytest.raises(ZeroDivisionError) as caught, client.lock("gone", "ann"):
            leader.stop()
            raise ZeroDivisionError
        assert "besides, releasing lock 'gone'" in caught.value.__notes__[0]
    with dht.ViewLeader() as leader, dht.Client(leader.address, timeout=1.0) as client:
        with pytest.raises(dht.NoViewLeader) as released, client.lock("gone", "ann"):
            leader.stop()
        assert "may still be held by 'ann'" in released.value.__notes__[0]


def test_a_counter(client: dht.Client) -> None:
    """Threads that add under a lock lose nothing."""
    box = {"count": 0}

    def add() -> None:
        for _ in range(5):
            with client.lock("counter"):
                seen = box["count"]
                client.query_servers()
                box["count"] = seen + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert box["count"] == 20


@pytest.mark.parametrize("wrong", [1, None, ["L"]])
def test_names_of_locks_are_strings(client: dht.Client, wrong: object) -> None:
    """So are those of clients."""
    with pytest.raises(TypeError, match="lock"):
        client.lock_get(wrong, "ann")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="client"):
        client.lock_release("L", wrong)  # type: ignore[arg-type]
