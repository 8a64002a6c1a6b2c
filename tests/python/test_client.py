"""`dht.Client`: values, errors, interruption, threads, forks and other transports."""

from __future__ import annotations

import math
import pickle
import pydoc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import dht
from children import python, seconds_to_interrupt
from dht import _dht
from dht._transport import Transport
from fakes import FakeRing, silent
from harness import closed_port
from rings import Ring

NATIVE_IS_A_TRANSPORT: type[Transport] = _dht.Client


@pytest.fixture
def client(ring: Ring) -> Iterator[dht.Client]:
    """A client of the shared ring."""
    with dht.Client(ring.leader.address, ring.servers[0].address, timeout=15.0) as client:
        yield client


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ((1, 2), "tuple"),
        ({"a": [(1,)]}, "tuple"),
        ({1: "one"}, "key 1"),
        ({"a": {True: 1}}, "key True"),
        ({1, 2}, "set"),
        (b"bytes", "bytes"),
        ([object], "type"),
    ],
)
def test_what_is_no_json_is_refused_by_name(client: dht.Client, value: Any, named: str) -> None:
    """Nothing is changed quietly on its way."""
    with pytest.raises(TypeError, match=named):
        client.setr("strange", value)
    with pytest.raises(TypeError, match=named):
        client.set("strange", value)
    with pytest.raises(TypeError, match=named):
        client.setr_many({"fine": 1, "strange": value})
    with pytest.raises(KeyError):
        client.getr("fine")


def test_a_value_without_end(client: dht.Client) -> None:
    """What contains itself is refused."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="Circular"):
        client.setr("endless", endless)


def test_numbers_that_only_python_calls_json(client: dht.Client) -> None:
    """They come back as they are."""
    client.setr("numbers", [math.inf, -math.inf, math.nan])
    infinite, negative, nan = client.getr("numbers")
    assert (infinite, negative) == (math.inf, -math.inf)
    assert math.isnan(nan)


@pytest.mark.parametrize("name", [1, None, b"name", ("a",)])
def test_names_are_strings(client: dht.Client, name: Any) -> None:
    """Anything else is a `TypeError`, whichever method is called."""
    for call in (client.getr, client.get, lambda name: client.getr_many([name])):
        with pytest.raises(TypeError, match="a name is a str"):
            call(name)


def test_a_closed_client(client: dht.Client) -> None:
    """Every call says so; closing again does nothing."""
    client.close()
    client.close()
    calls: list[Callable[[], object]] = [
        lambda: client.getr("a"),
        lambda: client.setr_many({"a": 1}),
        lambda: client.get("a"),
        lambda: client.lock_get("a", "b"),
        lambda: len(client.replicated),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed; make a new one"):
            call()


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf])
def test_timeouts_that_make_no_sense(timeout: float) -> None:
    """They are refused before anything is sent."""
    with pytest.raises(ValueError, match="seconds"):
        dht.Client(timeout=timeout)
    with pytest.raises(ValueError, match="seconds"):
        dht.AsyncClient(timeout=timeout)


@pytest.mark.parametrize("timeout", [None, "5"])
def test_timeouts_that_are_no_numbers(timeout: float) -> None:
    """The error is a sentence that says what a timeout is."""
    wanted = f"a timeout is a number of seconds, more than 0, not {timeout!r}"
    for kind in (dht.Client, dht.AsyncClient):
        with pytest.raises(TypeError, match=wanted):
            kind(timeout=timeout)


def test_definite_errors_are_no_unknown_ones() -> None:
    """The two kinds have no class in common but `DhtError`."""
    definite = [
        dht.NoViewLeader,
        dht.ServerUnreachable,
        dht.NoServers,
        dht.Busy,
        dht.WrongEpoch,
        dht.NotDone,
        dht.Refused,
        dht.MessageTooLarge,
    ]
    for error in definite:
        assert issubclass(error, dht.DidNotHappen)
        assert pickle.loads(pickle.dumps(error("why"))).args == ("why",)
    assert not issubclass(dht.OutcomeUnknown, dht.DidNotHappen)
    assert issubclass(dht.NoViewLeader, ConnectionError)
    assert issubclass(dht.MessageTooLarge, ValueError)
    assert dht.NoServers is _dht.NoServers
    failed = dht.ManyFailed({"a": dht.Busy("why")}, {"b": 3})
    again = pickle.loads(pickle.dumps(failed))
    assert (str(again), again.done) == (str(failed), {"b": 3})


def test_nobody_there() -> None:
    """Nothing was sent, so nothing happened; the error says what to do."""
    with closed_port() as port, dht.Client(f"127.0.0.1:{port}", f"127.0.0.1:{port}") as client:
        with pytest.raises(dht.ServerUnreachable, match=r"start server\.py"):
            client.set("a", 1)
        with pytest.raises(dht.NoViewLeader, match=r"start viewleader\.py"):
            client.lock_get("a", "ann")
        with pytest.raises(dht.NoViewLeader), client.lock("a"):
            raise AssertionError("nobody grants it")


def test_a_silent_party() -> None:
    """What was sent and not answered may have happened."""
    with silent() as address, dht.Client(address, address, timeout=0.2) as client:
        with pytest.raises(dht.OutcomeUnknown, match="may have happened"):
            client.set("a", 1)
        with pytest.raises(dht.OutcomeUnknown, match="may have happened"):
            client.lock_release("a", "ann")
        reads = (
            lambda: client.get("a"),
            client.query_all_keys,
            client.query_servers,
            client.status,
        )
        for read in reads:
            with pytest.raises(dht.OutcomeUnknown, match="so nothing was changed: ask again"):
                read()


def test_a_refusal(client: dht.Client) -> None:
    """An `error` is an answer: it did not happen."""
    reply = client._transport.call_server('{"cmd": "frobnicate"}')
    assert "error" in reply
    with (
        dht.Client(client.query_servers()[0][0]) as lost,
        pytest.raises(dht.Refused, match="server"),
    ):
        lost.lock_get("a", "ann")


@pytest.mark.parametrize(
    "call",
    [
        "client.getr('a')",
        "client.setr('a', 1)",
        "client.getr_many(['a', 'b'])",
        "client.setr_many({'a': 1})",
        "client.get('a')",
        "client.query_servers()",
        "client.lock_get('a', 'ann')",
        "client.lock('a').__enter__()",
        "len(client.replicated)",
    ],
)
def test_ctrl_c_ends_a_wait_for_a_silent_party(call: str) -> None:
    """Within a tenth of a second."""
    with silent() as address:
        assert seconds_to_interrupt(call, address) < 0.1


def test_ctrl_c_ends_a_status_of_silent_servers() -> None:
    """The view leader has answered, and the servers are waited for: also for their status."""
    with dht.Cluster(3) as cluster:
        for server in cluster.servers:
            server.pause()
        assert seconds_to_interrupt("client.status()", cluster.viewleader.address) < 0.1


@pytest.mark.parametrize("call", ["client.getr('a')", "client.setr_many({'a': 1})"])
def test_ctrl_c_while_another_thread_is_busy(call: str) -> None:
    """The interpreter has to be shared, and is."""
    with silent() as address:
        assert seconds_to_interrupt(call, address, busy=True) < 0.1


def test_ctrl_c_while_a_lock_is_waited_for() -> None:
    """The wait ends at once, and its place in the queue is given back."""
    with dht.ViewLeader() as leader, dht.Client(leader.address) as client:
        assert client.lock_get("held", "ann")
        call = "client.lock_get('held', 'bob')"
        assert seconds_to_interrupt(call, leader.address) < 0.1
        assert client.lock_release("held", "ann")
        assert client.lock_get("held", "carol", wait=False)


FORKED = """
import os, sys, warnings
import dht

warnings.simplefilter("ignore")
client = dht.Client(sys.argv[1], timeout=15)
client.setr_many({"fork": 1, "spoon": 2})
child = os.fork()
if child == 0:
    for call in (lambda: client.getr("fork"), lambda: client.getr_many(["fork"]),
                 lambda: client.query_servers(), lambda: len(client.replicated)):
        try:
            call()
        except RuntimeError as error:
            assert "forked child" in str(error), error
        else:
            raise SystemExit("no error")
    client.close()
    del client
    with dht.Client(sys.argv[1], timeout=15) as own:
        assert own.getr_many(["fork", "spoon"]) == {"fork": 1, "spoon": 2}
    print("child", flush=True)
    raise SystemExit
assert os.waitpid(child, 0)[1] == 0
assert client.getr_many(["fork"]) == {"fork": 1}
print("parent")
"""


def test_after_a_fork(ring: Ring) -> None:
    """The parent's client says so, one of the child's own works, and the parent goes on."""
    assert python(FORKED, ring.leader.address) == "child\nparent\n"


LEAVES = """
import sys, threading
import dht

client = dht.Client(sys.argv[1], sys.argv[1], timeout=60)
for call in (lambda: client.getr("a"), lambda: client.getr_many(["a"]), client.query_servers):
    threading.Thread(target=call, daemon=True).start()
threading.Event().wait(0.2)
print("ends")
"""


def test_leaving_with_calls_under_way() -> None:
    """A program ends quietly although threads of it wait for answers."""
    with silent() as address:
        assert python(LEAVES, address) == "ends\n"


def test_help_reads_well() -> None:
    """What `help` shows has arguments, result, errors and an example."""
    for method in (dht.Client.setr, dht.Client.setr_many, dht.Client.lock_get):
        text = pydoc.plain(pydoc.render_doc(method))
        for part in ("Args:", "Returns:", "Raises:", "Example:"):
            assert part in text


class Memory:
    """A transport without a network, whose time passes only by `sleep`."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.now = 0.0
        self.asked: list[str] = []

    @property
    def real(self) -> bool:
        return False

    def call_server(self, request: str) -> str:
        self.asked.append(request)
        return '{"result": []}'

    def call_viewleader(self, request: str) -> str:
        self.asked.append(request)
        return '{"status": "ok"}' if "release" in request else '{"status": "retry"}'

    def call_address(self, address: str, request: str, timeout_ms: int | None = None) -> str:
        return self.call_server(request)

    def setr(self, key: str, value: str) -> list[str]:
        self.values[key] = value
        return ["one"]

    def getr(self, key: str) -> str | None:
        return self.values.get(key)

    def setr_many(self, pairs: Sequence[tuple[str, str]]) -> list[list[str] | dht.DhtError]:
        return [self.setr(key, value) for key, value in pairs]

    def getr_many(self, keys: Sequence[str]) -> list[str | dht.DhtError | None]:
        return [self.getr(key) for key in keys]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now

    def close(self) -> None:
        self.asked.append("close")


def test_another_transport() -> None:
    """Calls, waits and time are the transport's: an hour's wait takes no time."""
    memory = Memory()
    with dht.Client.over(memory) as client:
        assert client.setr("a", [1]) == 1
        assert client.getr_many(["a", "b"]) == {"a": [1]}
        with pytest.raises(TimeoutError, match="given back"):
            client.lock_get("L", "ann", timeout=3600)
        assert 3600 <= memory.now < 3601
        assert "lock_release" in memory.asked[-1]
    assert memory.asked[-1] == "close"


def test_a_connection_that_breaks_is_no_lost_read() -> None:
    """Reads are asked again, on a new connection."""
    broken: list[str] = []

    def answer(request: dict[str, Any]) -> dict[str, Any] | None:
        if request["key"] not in broken:
            broken.append(request["key"])
            return None
        return fake.reply(request)

    with FakeRing(answer) as fake, dht.Client(fake.address) as client:
        assert client.getr("a") == {"name": "a"}
        assert client.getr_many(["b", "c"]) == {"b": {"name": "b"}, "c": {"name": "c"}}
