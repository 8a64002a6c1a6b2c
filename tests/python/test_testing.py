"""`dht.testing`: the checker as Python sees it, and what a history records."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dht
from dht.testing import History, NotLinearizable, Undecided, check_linearizable
from harness import ROOT, wait_until

HISTORIES = sorted((ROOT / "tests" / "data" / "histories").glob("*.jsonl"))


def event(at: int, process: int, kind: str, key: str, value: str | None, f: str = "put") -> str:
    """One line of a history."""
    fields = {"at": at, "process": process, "type": kind, "f": f, "key": key, "value": value}
    return json.dumps(fields)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_the_verdicts_are_those_of_the_core(path: Path) -> None:
    """Each hand-made history says in its first line what it is."""
    text = path.read_text(encoding="utf-8")
    if text.startswith("# linearizable"):
        calls = text.count('"type":"invoke"')
        assert check_linearizable(text) == calls
        assert check_linearizable(text.splitlines()) == calls
        return
    key = text.removeprefix("# violation of ").partition(":")[0]
    with pytest.raises(NotLinearizable, match=f'^key "{key}" is not linearizable\n') as raised:
        check_linearizable(text)
    explained = path.with_suffix(".txt")
    if explained.exists():
        assert str(raised.value) == explained.read_text(encoding="utf-8").rstrip("\n")


def test_there_are_histories_of_both_kinds() -> None:
    """Otherwise the test above would say little."""
    firsts = [path.read_text(encoding="utf-8").split()[1] for path in HISTORIES]
    assert firsts.count("linearizable:") > 5
    assert firsts.count("violation") > 5


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["no JSON"], "line 1: expected ident"),
        (["", "# a remark", "{}"], "line 3: missing field `at`"),
        ([event(1, 0, "invoke", "k", "a"), event(2, 0, "done", "k", "a")], "line 2: unknown"),
        ([event(1, 0, "ok", "k", "a")], "line 1: process 0 has called nothing"),
        ([event(2, 0, "invoke", "k", "a"), event(1, 1, "invoke", "k", "b")], "line 2: time goes"),
        ([event(1, 0, "invoke", "k", "a"), event(1, 0, "invoke", "k", "b")], "line 2: process 0"),
        ([event(1, 0, "invoke", "k", None)], "line 1: a put is called with a value"),
        ([event(1, 0, "invoke", "\ud800", "a")], "line 1: .*hex escape"),
    ],
)
def test_what_is_no_history(lines: list[str], why: str) -> None:
    """The first line that is wrong is named, with what is wrong."""
    with pytest.raises(ValueError, match=f"^{why}"):
        check_linearizable(lines)


def test_a_search_that_is_given_up() -> None:
    """It has no verdict: neither right nor wrong."""
    names = "abcdefgh"
    lines = [event(number, number, "invoke", "k", "same") for number, _ in enumerate(names)]
    lines += [event(10 + number, 20, "invoke", "k", None, "get") for number in [0]]
    lines += [event(11, 20, "ok", "k", "same", "get")]
    assert check_linearizable(lines) == len(names) + 1
    with pytest.raises(Undecided, match=r'^0 steps did not settle \["k"\]$'):
        check_linearizable(lines, steps_max=0)


class Fake:
    """A client that does what it is told."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def setr(self, name: str, value: Any) -> int:
        """Gives or raises the answer."""
        return int(self.answer())

    def getr(self, name: str) -> Any:
        """Gives or raises the answer."""
        return self.answer()


def raiser(error: BaseException) -> Callable[[], Any]:
    """Something that raises."""

    def answer() -> Any:
        raise error

    return answer


@pytest.mark.parametrize(
    ("error", "put", "get"),
    [
        (dht.OutcomeUnknown(), "info", "fail"),
        (KeyboardInterrupt(), "info", "fail"),
        (dht.NoViewLeader(), "fail", "fail"),
        (dht.NoServers(), "fail", "fail"),
        (dht.Busy(), "fail", "fail"),
        (dht.WrongEpoch(), "fail", "fail"),
        (dht.NotDone(), "fail", "fail"),
        (dht.MessageTooLarge(), "fail", "fail"),
        (KeyError("k"), "info", "ok"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_how_errors_are_recorded(error: BaseException, put: str, get: str) -> None:
    """What may have happened is never recorded as what did not."""
    history = History()
    client = history.client(Fake(raiser(error)))
    with pytest.raises(type(error)):
        client.setr("k", 1)
    with pytest.raises(type(error)):
        client.getr("k")
    lines = [json.loads(line) for line in history.lines()]
    assert [line["type"] for line in lines] == ["invoke", put, "invoke", get]
    assert [line["process"] for line in lines] == ([0, 0, 1, 1] if put == "info" else [0] * 4)
    assert [line["value"] for line in lines] == ["1", "1", None, None]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert history.check() == 2


def test_a_recorded_violation(tmp_path: Path) -> None:
    """A client that reads what nobody wrote; the saved file tells the same."""
    history = History()
    history.client(Fake(lambda: 1)).setr("k", "old")
    history.client(Fake(lambda: "new")).getr("k")
    with pytest.raises(NotLinearizable, match='get read "new"') as raised:
        history.check()
    history.save(tmp_path / "history.jsonl")
    saved = (tmp_path / "history.jsonl").read_text(encoding="utf-8")
    with pytest.raises(NotLinearizable) as again:
        check_linearizable(saved)
    assert str(again.value) == str(raised.value)


def test_the_search_lets_other_threads_run() -> None:
    """A long history is judged while another thread goes on."""
    lines = []
    for number in range(40_000):
        lines.append(event(2 * number, 0, "invoke", "k", str(number)))
        lines.append(event(2 * number + 1, 0, "ok", "k", str(number)))
    text = "\n".join(lines)
    judged: list[int] = []
    thread = threading.Thread(target=lambda: judged.append(check_linearizable(text)))
    turns = 0
    thread.start()
    while thread.is_alive():
        turns += 1
        thread.join(0.001)
    assert judged == [40_000]
    # With the GIL held there would be no turn between the beginning and the end.
    assert turns > 3


def test_a_ring_in_this_process() -> None:
    """What four threads see of a real ring is linearizable, and all of it is recorded."""
    history = History()
    with (
        dht.ViewLeader() as leader,
        dht.Server(leader.address),
        dht.Server(leader.address),
        dht.Client(leader.address) as client,
    ):
        wait_until(lambda: len(client.query_servers()) == 2, what="two servers")

        def work(number: int) -> None:
            recorded = history.client(client)
            for turn in range(20):
                recorded.setr("k", [number, turn])
                assert recorded.getr("k") is not None

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    assert history.check() == 160
