"""Locks of the view leader: waiting, timeouts, `with`, and what becomes of a lost one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import dht
from dht import _locks
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
        assert "lock 'gone' is still held by 'ann'" in str(released.value)


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


class Scripted:
    """A transport whose view leader says one thing after the other; time passes only by `sleep`."""

    real = False

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []
        self.now = 0.0

    def call_viewleader(self, request: str) -> str:
        self.asked.append(request.partition('"cmd": "')[2].partition('"')[0])
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply == "gone":
            return '{"error": "can\'t connect to leader"}'
        if reply == "silent":
            raise dht.OutcomeUnknown("no reply in time")
        return f'{{"status": "{reply}"}}'

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now

    def close(self) -> None:
        pass


def scripted(*replies: str) -> tuple[dht.Client, Scripted]:
    """A client of a view leader that says this; the last of it for ever."""
    transport = Scripted(*replies)
    return dht.Client.over(transport), transport  # type: ignore[arg-type]


def test_who_waits_goes_on_while_the_view_leader_is_away() -> None:
    """Once it has a place: without an end, or until its time is over."""
    for timeout in (None, 60.0):
        client, transport = scripted("retry", "gone", "gone", "silent", "gone", "retry", "granted")
        assert client.lock_get("L", "bob", timeout=timeout)
        assert transport.asked == ["lock_get"] * 7
    client, transport = scripted(*["retry"] * 3, "gone")
    with pytest.raises(TimeoutError) as ended:
        client.lock_get("L", "bob", timeout=20)
    assert 20 <= transport.now < 22
    assert "lock_release('L', 'bob')" in str(ended.value), "it may still be queued"
    assert "given back" not in str(ended.value)
    client, _ = scripted("retry", "gone", "ok")
    with pytest.raises(TimeoutError, match="was given back"):
        client.lock_get("L", "bob", timeout=0)


def test_who_has_no_place_is_told_at_once() -> None:
    """That there is no view leader, without a wait and without a note of a place."""
    for wait in (False, True):
        client, transport = scripted("gone")
        with pytest.raises(dht.NoViewLeader) as failed:
            client.lock_get("L", "bob", wait=wait, timeout=20)
        assert (transport.asked, transport.now) == (["lock_get"], 0.0)
        assert not hasattr(failed.value, "__notes__")


def test_a_place_that_cannot_be_given_back_is_named() -> None:
    """With the lock, the client, and what to do."""
    client, transport = scripted("retry", "gone", "gone", "ok")
    assert client.lock_get("L", "bob", wait=False) is False
    assert transport.asked == ["lock_get"] + ["lock_release"] * 3
    client, transport = scripted("retry", "gone")
    with pytest.raises(dht.NoViewLeader) as failed:
        client.lock_get("L", "bob", wait=False)
    assert 0 < transport.now <= 1
    assert "lock_release('L', 'bob')" in failed.value.__notes__[0]
    client, _ = scripted("silent")
    with pytest.raises(dht.OutcomeUnknown) as unknown:
        client.lock_get("L", "bob", timeout=20)
    assert "lock_release('L', 'bob')" in unknown.value.__notes__[0]


def test_an_interrupted_wait_that_cannot_give_its_place_back_says_so() -> None:
    """Ctrl-C while the view leader is away."""
    client, transport = scripted("retry", "gone")

    def press(seconds: float) -> None:
        transport.now += seconds
        if transport.now > 5:
            transport.sleep = Scripted.sleep.__get__(transport)  # type: ignore[method-assign]
            raise KeyboardInterrupt

    transport.sleep = press  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as pressed:
        client.lock_get("L", "bob")
    assert "lock_release('L', 'bob')" in pressed.value.__notes__[0]


def test_leaving_a_block_while_the_view_leader_is_away() -> None:
    """It is tried for a while; then the error names the lock and its holder."""
    client, transport = scripted("granted", "gone", "gone", "ok")
    with client.lock("L", "ann"):
        pass
    assert transport.asked == ["lock_get"] + ["lock_release"] * 3
    client, transport = scripted("granted", "gone")
    with pytest.raises(dht.NoViewLeader) as still, client.lock("L", "ann"):
        pass
    text = str(still.value)
    assert "lock 'L' is still held by 'ann'" in text, text
    assert "lock_release('L', 'ann')" in text, text
    assert 0 < transport.now <= 5
    client, _ = scripted("granted", "silent")
    with pytest.raises(dht.OutcomeUnknown, match="lock 'L' may still be held by 'ann'"):  # noqa: SIM117
        with client.lock("L", "ann"):
            pass
    client, transport = scripted("granted", "gone")
    with pytest.raises(KeyboardInterrupt) as pressed, client.lock("L", "ann"):
        raise KeyboardInterrupt
    assert "lock 'L' is still held by 'ann'" in pressed.value.__notes__[0]
    assert transport.now < 0.1, "who presses Ctrl-C does not wait"


@pytest.mark.parametrize("way", ["lock_get", "lock"])
def test_a_restart_of_the_view_leader_leaves_no_ghost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Who waited then goes on waiting, is granted the lock after it, and gives it back."""
    answered = threading.Event()
    next_pause = _locks.next_pause

    def paused(pause: float) -> float:
        answered.set()
        return next_pause(pause)

    monkeypatch.setattr(_locks, "next_pause", paused)
    with dht.Cluster(1, data_dir=tmp_path) as cluster:
        ann, bob = cluster.client(), cluster.client()
        assert ann.lock_get("queue", "ann")
        came: list[object] = []

        def wait() -> None:
            try:
                if way == "lock":
                    with bob.lock("queue", "bob", timeout=60):
                        came.append("held")
                else:
                    came.append(bob.lock_get("queue", "bob", timeout=60))
                    bob.lock_release("queue", "bob")
            except BaseException as error:
                came.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(lambda: _is_waiting(ann, "bob"), what="bob to wait")
        wait_until(answered.is_set, what="bob to know that")
        cluster.viewleader.kill()
        thread.join(0.6)  # more than a pause between two questions
        assert thread.is_alive(), came
        cluster.viewleader.restart()
        cluster.wait_settled()
        assert ann.lock_release("queue", "ann")
        thread.join(20)
        assert came == ["held" if way == "lock" else True]
        assert ann.lock_get("queue", "carol", wait=False)
