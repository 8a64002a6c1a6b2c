#!/usr/bin/env python3
"""Check the three scripts as a harness of 2016 would: processes, sockets and bytes, and no `dht`.

    original_tooling.py [VIEWLEADER_PORT SERVER_PORT]

Starts a view leader and servers with the original's command lines, stores and reads by wire and by
`client.py`, asks each server for its copies, kills one, and asks again. It prints a line for each
check, exits 0 if all are good and 1 if one is not, and ends what it has started.

The ports are the original's, 39000 and 38000, and must be free; `0 0` takes any free ones. Other
ports than the original's are given to the scripts in the environment, as DHT_PORT.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(os.path.dirname(HERE), "scripts")
VIEWLEADER_PORT, SERVER_PORT = 39000, 38000
SERVERS = 4
NAMES = [f"name {number}" for number in range(20)]
PATIENCE_SECONDS = 30


class CheckFailed(Exception):
    """A check that is not good; the text says why."""


def ask(port: int, request: dict[str, Any]) -> dict[str, Any]:
    """Send one request as the original's `common.send_receive` does, and return the reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        data = json.dumps(request).encode("ascii")
        sock.sendall(struct.pack("!i", len(data)) + data)
        (length,) = struct.unpack("!i", read(sock, 4))
        reply: dict[str, Any] = json.loads(read(sock, length).decode("ascii"))
        return reply


def read(sock: socket.socket, count: int) -> bytes:
    """Read exactly so many bytes."""
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise OSError("the connection was closed in the middle of a message")
        data += part
    return data


def poll(what: str, condition: Callable[[], T]) -> T:
    """Return the first true result of a condition; what cannot be reached yet counts as false."""
    deadline = time.time() + PATIENCE_SECONDS
    while time.time() < deadline:
        try:
            result = condition()
            if result:
                return result
        except (OSError, ValueError):
            pass
        time.sleep(0.02)
    raise CheckFailed(f"gave up after {PATIENCE_SECONDS} s: {what}")


def expect(what: str, got: object, wanted: object) -> None:
    """Print that a check is good, or fail."""
    if got != wanted:
        raise CheckFailed(f"{what}: got {got!r}, wanted {wanted!r}")
    print(f"ok   {what}")
    sys.stdout.flush()


class Harness:
    """The processes, and how to reach them."""

    def __init__(self, viewleader_port: int, server_port: int, folder: str) -> None:
        """Nothing is started yet; logs go into the folder."""
        self.first_ports = {"viewleader.py": viewleader_port, "server.py": server_port}
        self.original = (viewleader_port, server_port) == (VIEWLEADER_PORT, SERVER_PORT)
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.viewleader = "localhost"
        self.leader_port = viewleader_port

    def start(self, name: str, number: int, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
        """Start a script, and return its process and the port that it has said it listens on."""
        env = dict(os.environ)
        first = self.first_ports[name]
        wanted = first + number if first else 0
        if wanted:
            refuse_if_taken(wanted)
        if not self.original:
            env["DHT_PORT"] = str(wanted)
        path = os.path.join(self.folder, f"{name}-{number}.log")
        with open(path, "wb") as log:
            process = subprocess.Popen(
                [sys.executable, os.path.join(SCRIPTS, name), *list(arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
            )
        self.started.append(process)
        port = poll(f"{name} listens", lambda: port_of(process, name, path))
        assert port is not None
        return process, port

    def client(self, server_port: int, *arguments: str) -> tuple[str, int]:
        """Run `client.py` and return the last line that it prints, and its exit status."""
        server = "localhost" if self.original else f"127.0.0.1:{server_port}"
        hosts = ["--server", server, "--viewleader", self.viewleader]
        done = subprocess.run(
            [sys.executable, os.path.join(SCRIPTS, "client.py"), *hosts, *list(arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
        )
        lines = done.stdout.decode("utf-8").splitlines()
        return (lines[-1] if lines else ""), done.returncode

    def end(self) -> None:
        """End everything that was started."""
        for process in self.started:
            process.kill()
            process.wait()


def refuse_if_taken(port: int) -> None:
    """Fail where another program answers on a port: the scripts would quietly take the next."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return
    raise CheckFailed(
        f"port {port} is in use by another program; end that, or run "
        f"{os.path.basename(__file__)} 0 0"
    )


def port_of(process: subprocess.Popen[bytes], name: str, path: str) -> int | None:
    """Return the last port in what a script has printed, once it says or shows that it listens."""
    with open(path, "rb") as log:
        text = log.read().decode("utf-8")
    if process.poll() is not None:
        raise CheckFailed(f"{name} ended by itself: {text.strip()}")
    for line in reversed(text.splitlines()):
        number = line.rstrip(".").rpartition(":")[2].rpartition(" ")[2]
        if line.startswith(("Listening on ", "Trying to listen on ")):
            port = int(number)
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return port
    return None


def members(harness: Harness) -> list[int]:
    """Return the ports of the servers in the view, in ring order."""
    view = ask(harness.leader_port, {"cmd": "query_servers"})
    return [int(address.rpartition(":")[2]) for address, _ in view["result"]]


def copies(ports: list[int], name: str) -> list[Any]:
    """Return what the servers of these ports hold under a name, as many as hold something."""
    replies = [ask(port, {"cmd": "get", "key": name}) for port in ports]
    return [reply["value"] for reply in replies if reply["status"] == "ok"]


def settle(harness: Harness, ports: list[int]) -> None:
    """Wait until the view lists these servers, and each name is on three of them."""
    poll(f"{len(ports)} servers are in the view", lambda: sorted(members(harness)) == ports)
    wanted = [[name, name, name] for name in NAMES]
    poll("three copies of each name", lambda: [copies(ports, name) for name in NAMES] == wanted)


def check(harness: Harness) -> None:
    """Run every check."""
    _, harness.leader_port = harness.start("viewleader.py", 0)
    if not harness.original:
        harness.viewleader = f"127.0.0.1:{harness.leader_port}"
    empty = {"result": [], "epoch": 0}
    expect("a view leader answers", ask(harness.leader_port, {"cmd": "query_servers"}), empty)

    processes = {}
    for number in range(SERVERS):
        process, port = harness.start("server.py", number, "--viewleader", harness.viewleader)
        processes[port] = process
    ports = sorted(processes)
    poll("the servers join", lambda: sorted(members(harness)) == ports)
    expect(f"{SERVERS} servers are in the view", sorted(members(harness)), ports)

    first = ports[0]
    reply = ask(first, {"cmd": "set", "key": "a", "val": [1, "two", None]})
    expect("set, by wire", reply, {"status": "ok"})
    reply = ask(first, {"cmd": "get", "key": "a"})
    expect("get, by wire", reply, {"status": "ok", "value": [1, "two", None]})
    expect("get of nothing", ask(first, {"cmd": "get", "key": "b"}), {"status": "not_found"})
    said = harness.client(first, "set", "c", "3")
    expect("set, by client.py", said, ("{'status': 'ok'}", 0))
    said = harness.client(first, "get", "c")
    expect("get, by client.py", said, ("{'status': 'ok', 'value': '3'}", 0))

    for name in NAMES:
        said = harness.client(first, "setr", name, name)
        if said != (f"set {name} to {name}", 0):
            raise CheckFailed(f"setr {name} said {said!r}")
    print(f"ok   setr, by client.py, of {len(NAMES)} names")
    settle(harness, ports)
    expect("each name is on three servers", {len(copies(ports, name)) for name in NAMES}, {3})

    killed = ports[1]
    processes[killed].kill()
    processes[killed].wait()
    left = [port for port in ports if port != killed]
    settle(harness, left)
    expect("after kill -9 of one, too", {len(copies(left, name)) for name in NAMES}, {3})
    for name in NAMES[:5]:
        said = harness.client(left[0], "getr", name)
        expect(f"getr {name}", said, (f"{{'status': 'ok', 'value': '{name}'}}", 0))

    check_lock(harness, left[0])


def check_lock(harness: Harness, server_port: int) -> None:
    """Check that one client has a lock, and the next gets it afterwards."""

    def request(cmd: str, who: str) -> object:
        return ask(harness.leader_port, {"cmd": cmd, "lockid": "L", "requestor": who})["status"]

    said = harness.client(server_port, "lock_get", "L", "ann")
    expect("a lock is granted", said, ("{'status': 'granted'}", 0))
    expect("a second client waits for it", request("lock_get", "bob"), "retry")
    expect("it is given back", request("lock_release", "ann"), "ok")
    expect("the second client has it", request("lock_get", "bob"), "granted")
    expect("nobody else gives it back", request("lock_release", "ann"), "unknown")


def main(arguments: list[str]) -> int:
    """Run the checks and return the exit status."""
    if len(arguments) not in (0, 2) or not all(text.isdigit() for text in arguments):
        sys.stderr.write(f"usage: {os.path.basename(__file__)} [VIEWLEADER_PORT SERVER_PORT]\n")
        return 1
    ports = [int(text) for text in arguments] or [VIEWLEADER_PORT, SERVER_PORT]
    with tempfile.TemporaryDirectory() as folder:
        harness = Harness(ports[0], ports[1], folder)
        try:
            check(harness)
        except (CheckFailed, OSError, subprocess.SubprocessError) as error:
            print(f"FAIL {error}")
            return 1
        finally:
            harness.end()
    print("all good")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
