"""Options and environment variables of the scripts, and how the nodes start and end."""

from __future__ import annotations

import platform
import re
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest

from conftest import StartProgram
from harness import answers, clean_env, run, script, wait_until
from rawwire import Connection, ask
from rings import Ring


def test_environment_variables_set_the_same(start: StartProgram) -> None:
    """A harness that cannot pass options sets `DHT_…`."""
    leader = start(script("viewleader.py"), clean_env(DHT_PORT="0", DHT_LEASE="0.5"))
    heartbeat = {"cmd": "heartbeat", "port": 50001, "requestor": 0.5}
    assert ask(leader.port, heartbeat)["status"] == "ok"
    wait_until(lambda: ask(leader.port, heartbeat)["status"] == "ok")
    wait_until(lambda: not ask(leader.port, {"cmd": "query_servers"})["result"], 5.0)
    env = clean_env(DHT_PORT="0", DHT_VIEWLEADER=leader.address, DHT_HEARTBEAT="0.1")
    server = start(script("server.py"), env)
    wait_until(lambda: ask(leader.port, {"cmd": "query_servers"})["result"])
    hosts = {"DHT_SERVER": server.address, "DHT_VIEWLEADER": leader.address}
    assert run(script("client.py", "set", "a", "1"), env=hosts).stdout == "{'status': 'ok'}\n"
    assert run(script("client.py", "setr", "b", "1"), env=hosts).returncode == 0
    done = run(script("client.py", "get", "nobody"), env={**hosts, "DHT_FAIL": "1"})
    assert (done.stdout, done.returncode) == ("{'status': 'not_found'}\n", 1)


def test_an_option_wins_over_the_environment(start: StartProgram) -> None:
    """What is said on the command line counts."""
    leader = start(script("viewleader.py", "--port", "0"), clean_env(DHT_PORT="1"))
    wait_until(lambda: answers(leader.port, "query_servers"), what="the view leader")


@pytest.mark.parametrize("tuned", [False, True])
def test_the_heap_of_a_server_is_in_large_pages(start: StartProgram, tuned: bool) -> None:
    """Where the system has them and nobody has tuned the heap; as yet it takes no memory."""
    leader = start(script("viewleader.py", "--port", "0"))
    env = clean_env(GLIBC_TUNABLES="glibc.malloc.arena_max=2") if tuned else clean_env()
    server = start(script("server.py", "--port", "0", "--viewleader", leader.address), env)
    wait_until(lambda: answers(server.port, "dht_stats"), what="the server")
    large = large_mappings(server.process.pid)
    assert bool(large) == (has_large_pages() and not tuned)
    for size, rss in large:
        assert size >= 256 * 1024
        assert rss < 16 * 1024


def has_large_pages() -> bool:
    """Whether a server's heap can be in pages of 2 MiB on this machine, without bounds."""
    page = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
    strict = Path("/proc/sys/vm/overcommit_memory")
    if platform.libc_ver()[0] != "glibc" or not page.exists() or strict.read_text().strip() == "2":
        return False
    bounds = [resource.getrlimit(what)[0] for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return int(page.read_text()) == 2 * 1024 * 1024 and set(bounds) == {resource.RLIM_INFINITY}


def large_mappings(pid: int) -> list[tuple[int, int]]:
    """Size and resident size of what a process wants in large pages, in KiB."""
    maps = Path(f"/proc/{pid}/smaps")
    if not maps.exists():
        return []
    each = re.findall(
        r"\nSize: +(\d+) kB\n(?:.*\n)*?Rss: +(\d+) kB\n(?:.*\n)*?VmFlags: (.*)", maps.read_text()
    )
    return [(int(size), int(rss)) for size, rss, flags in each if "hg" in flags.split()]


def test_quiet(make_ring: Callable[..., Ring]) -> None:
    """`--quiet` leaves the lines about single requests out, but prints what it is asked to."""
    ring = make_ring(1, server_options=("--quiet",))
    assert ring.client("set", "a", "1")[1] == 0
    assert ring.client("get", "a")[1] == 0
    assert ring.client("setr", "b", "1")[1] == 0
    assert ring.client("print", "hello")[1] == 0
    server = ring.servers[0]
    wait_until(lambda: server.saw("Printing hello"), what="the words to be printed")
    server.interrupt()
    assert not server.saw("Setting") and not server.saw("Querying"), server.lines


def test_bind(start: StartProgram) -> None:
    """`--bind` listens at one address only; by default a node listens at all."""
    bound = start(script("viewleader.py", "--port", "0", "--bind", "127.0.0.2"))
    wait_until(lambda: bound.port)
    query = {"cmd": "query_servers"}
    assert ask(bound.port, query, host="127.0.0.2") == {"result": [], "epoch": 0}
    with pytest.raises(ConnectionRefusedError):
        ask(bound.port, query)
    everywhere = start(script("viewleader.py", "--port", "0"))
    for host in ("127.0.0.1", "127.0.0.2"):
        reply = ask(everywhere.port, query, host, host=host)
        assert reply == {"result": [], "epoch": 0}


@pytest.mark.parametrize("name", ["viewleader.py", "server.py"])
def test_a_taken_port_that_was_asked_for(name: str) -> None:
    """No other port is tried: the lines say which port, what is wrong and what to do."""
    with socket.socket() as sock:
        sock.bind(("", 0))
        sock.listen()
        port = sock.getsockname()[1]
        done = run(script(name, "--port", str(port)))
    assert done.returncode == 1
    assert f"Trying to listen on {port}..." in done.stdout
    assert done.stdout.splitlines()[-1] == "Can't listen on any port, giving up"
    assert done.stderr.count("\n") == 1 and "--port" in done.stderr


def test_a_restarted_program_gets_its_port_back(start: StartProgram) -> None:
    """Also while old connections linger."""
    leader = start(script("viewleader.py", "--port", "0"))
    port = leader.port
    with Connection(port) as connection:
        connection.send_text('{"cmd":"query_servers"}')
        connection.read_text()
        leader.kill()
        again = start(script("viewleader.py", "--port", str(port)))
        wait_until(lambda: answers(port, "query_servers"), what="the view leader")
    assert again.alive()


@pytest.mark.parametrize("name", ["viewleader.py", "server.py"])
def test_sigterm_ends_a_node_quietly(name: str, start: StartProgram) -> None:
    """A supervisor's way to stop: status 0, nothing said."""
    command = {"viewleader.py": "query_servers", "server.py": "query_all_keys"}[name]
    node = start(script(name, "--port", "0"))
    wait_until(lambda: answers(node.port, command), what=name)
    node.process.send_signal(signal.SIGTERM)
    assert node.wait(5) == 0
    assert not node.saw("Traceback")


def test_a_reader_that_goes_away() -> None:
    """A node whose output nobody reads any more goes on serving."""
    argv = script("server.py", "--port", "0", "--viewleader", "127.0.0.1:1")
    server = subprocess.Popen(argv, stdout=PIPE, stderr=subprocess.STDOUT, env=clean_env())
    try:
        assert server.stdout
        port = int(server.stdout.readline().decode().rpartition(":")[2])
        server.stdout.close()
        for number in range(5):
            reply = ask(port, {"cmd": "set", "key": str(number), "val": number})
            assert reply == {"status": "ok"}
        assert len(ask(port, {"cmd": "query_all_keys"})["result"]) == 5
        assert server.poll() is None
    finally:
        server.kill()
        server.wait()


def test_every_option_is_explained() -> None:
    """Each option of `--help` comes with words and with its environment variable."""
    for name in ("viewleader.py", "server.py", "client.py"):
        text = run(script(name, "--help")).stdout
        options = re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)
        assert len(options) >= 5, text
        for option in options:
            if option != "--version":
                variable = "DHT_" + option.removeprefix("--").replace("-", "_").upper()
                assert variable in text, option
