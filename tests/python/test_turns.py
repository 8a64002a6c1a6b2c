"""Whose turn it is among threads that wait for locks of a virtual cluster."""

from __future__ import annotations

import threading
import time

import pytest

from dht import _turns
from harness import wait_until


def test_a_refusal_is_news_to_who_waited_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first in the queue waits while another asks; when that is refused, it goes on at once."""
    turns = _turns.Turns()
    passes: list[bool] = []
    looked = threading.Event()
    asks_too = turns._asks_too

    def look(lock: str, but: threading.Thread) -> threading.Thread | None:
        looked.set()
        return asks_too(lock, but)

    def be_refused() -> None:
        turns.asks("lock", "first")
        turns.is_told("lock", "first", granted=False)
        passes.append(turns.wait())

    monkeypatch.setattr(turns, "_asks_too", look)
    turns.asks("lock", "holder")
    turns.is_told("lock", "holder", granted=True)
    first = threading.Thread(target=be_refused)
    first.start()
    wait_until(lambda: first in turns._held_up, what="the first to wait for the holder")
    turns.asks("lock", "second")
    release = threading.Thread(target=turns.leaves, args=("lock", "holder"))
    release.start()
    release.join(10)
    assert looked.wait(10), "the first looks who asks besides"
    began = time.monotonic()
    turns.is_told("lock", "second", granted=False)  # enters once the other waits again
    first.join(10)
    assert passes == [False], "it waited, so it asks again before any time passes"
    assert time.monotonic() - began < _turns.PATIENCE_S / 2
