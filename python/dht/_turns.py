"""Whose turn it is among threads that wait for locks of one virtual cluster.

A thread that waits in virtual time lets it pass at once: a wait of ten seconds is over before
another thread has done anything. So who waits for a lock that another thread holds does not let
time pass, but waits for that thread. Then what the threads do, and not how quick they are, decides
how much virtual time each wait takes.
"""

import threading
from dataclasses import dataclass

PATIENCE_S = 1.0
"""How long, in real seconds, a thread that has a lock may do nothing with the cluster before those
that wait for it let virtual time pass all the same. It may itself be waiting for one of them."""


@dataclass
class _Wait:
    """What a thread waits for: its place in the queue of a lock."""

    lock: str
    client: str


class Turns:
    """The queues of the locks, as the view leader has told the threads of one cluster.

    Any thread may use it. It only decides who lets time pass, so it may be wrong about a lock, as
    after a restart of the view leader, without harm.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queues: dict[str, dict[str, threading.Thread]] = {}
        self._refused: dict[threading.Thread, _Wait] = {}
        self._held_up: dict[threading.Thread, _Wait] = {}
        self._asking: dict[threading.Thread, str] = {}  # who waits for an answer
        self._calls: dict[threading.Thread, int] = {}
        self._idle: dict[threading.Thread, int] = {}  # calls of those waited for in vain

    def uses(self) -> None:
        """Note that this thread uses the cluster."""
        me = threading.current_thread()
        self._calls[me] = self._calls.get(me, 0) + 1

    def asks(self, lock: str, client: str) -> None:
        """Note that this thread asks for a lock: it gets its place in the queue."""
        with self._changed:
            self._queues.setdefault(lock, {})[client] = threading.current_thread()
            self._asking[threading.current_thread()] = lock

    def is_told(self, lock: str, client: str, *, granted: bool) -> None:
        """Note the answer."""
        me = threading.current_thread()
        with self._changed:
            self._asking.pop(me, None)
            if granted:
                rest = self._queues.get(lock, {})
                rest.pop(client, None)
                self._queues[lock] = {client: me} | rest
            else:
                self._refused[me] = _Wait(lock, client)
                queue = self._queues.get(lock, {})
                if next(iter(queue), None) == client:
                    # Requests reach the view leader in another order than threads begin to ask.
                    queue[client] = queue.pop(client)
            # Those too that waited because this thread might be granted the lock.
            self._changed.notify_all()

    def leaves(self, lock: str, client: str) -> None:
        """Note that somebody is not in a queue any more."""
        with self._changed:
            self._asking.pop(threading.current_thread(), None)
            queue = self._queues.get(lock, {})
            queue.pop(client, None)
            if not queue:
                self._queues.pop(lock, None)
            self._changed.notify_all()

    def wait(self) -> bool:
        """Wait for others, where this thread was just refused a lock; whether time has to pass.

        It has to where nobody else can go on: the lock is held by this thread, by one that has
        ended or waits for this one, or by nobody that is known here.
        """
        me = threading.current_thread()
        mine = self._refused.pop(me, None)
        if mine is None:
            return True
        with self._changed:
            waited = False
            self._held_up[me] = mine
            try:
                while (first := self._first(mine)) is not None:
                    calls = self._calls.get(first, 0)
                    if self._idle.get(first) == calls:
                        return True
                    waited = True
                    if not self._changed.wait(PATIENCE_S) and self._calls.get(first, 0) == calls:
                        self._idle[first] = calls
            finally:
                del self._held_up[me]
            return not waited

    def _asks_too(self, lock: str, but: threading.Thread) -> threading.Thread | None:
        """Return another thread that has asked for a lock and waits for the answer."""
        asking = (other for other, wanted in self._asking.items() if wanted == lock)
        return next((other for other in asking if other is not but and other.is_alive()), None)

    def _first(self, mine: _Wait) -> threading.Thread | None:
        """Return the thread that has to go on first; `None` where only this one can."""
        me = threading.current_thread()
        thread, wait, passed = me, mine, {me}
        while True:
            head = next(iter(self._queues.get(wait.lock, {}).values()), None)
            if head is None or head is thread or not head.is_alive():
                # Who was refused, and is the first all the same: another has it, and has not heard.
                granted = self._asks_too(wait.lock, thread)
                return granted or (None if thread is me else thread)  # which lets time pass
            if head in passed:
                return None
            if head not in self._held_up:
                return head
            passed.add(head)
            thread, wait = head, self._held_up[head]
