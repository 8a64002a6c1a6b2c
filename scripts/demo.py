"""What `make demo` shows: a ring of real processes that grows, loses a server, and loses no key.

Starts a view leader and five servers on free ports, stores 2,000 characters and their Unicode
names, adds a sixth server, kills one with SIGKILL, and reads everything back. Exits with 0 only if
every value was right.
"""

import collections
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import dht
from dht import _dht

SCRIPTS = os.path.dirname(os.path.realpath(__file__))
PAIRS = 2_000
SERVERS = 5
THREADS = 4
DEADLINE_S = 40.0
POLL_S = 0.05
STOP_S = 3.0
LEASE = ["--lease", "4"]
HEARTBEAT = ["--heartbeat", "0.5"]


class Failure(Exception):
    """The demonstration cannot go on; the text says why."""


class Program:
    """One running script, its address, and the last lines that it printed."""

    def __init__(self, script: str, *options: str) -> None:
        """Start `script` on a free port and wait until it listens."""
        path = os.path.join(SCRIPTS, script)
        argv = [sys.executable, path, "--port", "0", "--bind", "127.0.0.1", "--quiet", *options]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DHT_")}
        self.name = script
        self.address = ""
        self.lines: collections.deque[str] = collections.deque(maxlen=8)
        self.listening = threading.Event()
        self.process = subprocess.Popen(  # noqa: S603 - the arguments are our own
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("Listening on "):
                self.address = line.split()[-1]
                self.listening.set()
        self.listening.set()

    def wait(self) -> None:
        """Wait until the program listens."""
        if not self.listening.wait(DEADLINE_S) or not self.address:
            raise Failure(f"{self.name} did not start: {' / '.join(self.lines)}")

    def kill(self) -> None:
        """End the program as `kill -9` does."""
        self.process.kill()
        self.process.wait()


class Ring:
    """The processes, and what can be asked of them."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self.programs: list[Program] = []
        self.leader: Program | None = None
        self.servers: list[Program] = []
        self.client: dht.Client | None = None

    def start(self) -> dht.Client:
        """Start the view leader and its servers; return a client of them."""
        self.leader = self._add("viewleader.py", *LEASE)
        self.leader.wait()
        for _ in range(SERVERS):
            self.add_server()
        for server in self.servers:
            server.wait()
        self.client = dht.Client(self.leader.address, timeout=DEADLINE_S)
        return self.client

    def add_server(self) -> Program:
        """Start one more server."""
        assert self.leader is not None
        server = self._add("server.py", "--viewleader", self.leader.address, *HEARTBEAT)
        self.servers.append(server)
        return server

    def _add(self, script: str, *options: str) -> Program:
        program = Program(script, *options)
        self.programs.append(program)
        return program

    def view(self) -> dict[str, Any]:
        """Return what the view leader says of its ring, our extension included."""
        assert self.leader is not None
        native = _dht.Client(viewleader=self.leader.address)
        try:
            reply = native.call_viewleader(json.dumps({"cmd": "query_servers", "dht": 1}))
        except OSError as error:
            raise Failure(f"the view leader does not answer: {error}") from error
        finally:
            native.close()
        view: dict[str, Any] = json.loads(reply)
        return view

    def positions(self) -> list[tuple[str, int]]:
        """Return address and position of every server."""
        return [(address, position) for address, position in self.view()["result"]]

    def wait_settled(self, what: str) -> None:
        """Wait until the view lists exactly the running servers and every key is in its place."""
        wanted = {server.address for server in self.servers}

        def settled() -> bool:
            view = self.view()
            listed = {address for address, _ in view.get("result", [])}
            return listed == wanted and bool(view.get("dht", {}).get("settled"))

        wait_until(settled, what, lambda: self.view())

    def stats(self) -> dict[str, dict[str, Any]]:
        """Return what each server says of itself, by address."""
        found = {}
        for server in self.servers:
            native = _dht.Client(server=server.address)
            found[server.address] = json.loads(native.call_server('{"cmd": "dht_stats", "dht": 1}'))
            native.close()
        return found

    def stop(self) -> None:
        """End every process that was started."""
        if self.client is not None:
            self.client.close()
        for program in self.programs:
            program.process.send_signal(signal.SIGINT)  # SIGTERM would hand over the data
        end = time.monotonic() + STOP_S
        for program in self.programs:
            try:
                program.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                program.kill()


def wait_until(condition: Callable[[], bool], what: str, state: Callable[[], object]) -> None:
    """Wait for a condition; fail after a deadline."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() >= end:
            raise Failure(f"not {what} within {DEADLINE_S:.0f} s: {state()}")
        time.sleep(POLL_S)


def pairs() -> dict[str, str]:
    """Return characters and their names, evenly spread over all that Unicode names."""
    named = [chr(code) for code in range(0x110000) if unicodedata.name(chr(code), None)]
    chosen = named[:: len(named) // PAIRS][:PAIRS]
    return {char: unicodedata.name(char) for char in chosen}


class Progress:
    """One line that counts; on a terminal it is rewritten, elsewhere it is printed at quarters."""

    def __init__(self, what: str, total: int) -> None:
        """Begin to count."""
        self.what, self.total, self.done = what, total, 0
        self.began = time.monotonic()
        self.terminal = sys.stdout.isatty()

    def step(self) -> None:
        """Count one more."""
        self.done += 1
        if self.terminal and (self.done % 20 == 0 or self.done == self.total):
            print(f"\r{self.what} {self.done:,} of {self.total:,}", end="", flush=True)
        elif not self.terminal and self.done * 4 % self.total == 0:
            print(f"{self.what} {self.done:,} of {self.total:,}", flush=True)

    def end(self) -> None:
        """Say how long it took."""
        start = " " if self.terminal else f"{self.what} {self.done:,}: "
        print(f"{start}in {time.monotonic() - self.began:.1f} s", flush=True)


def each(what: str, keys: Iterable[str], call: Callable[[str], bool]) -> int:
    """Call for every key from a few threads; return how often it said yes."""
    keys = list(keys)
    progress = Progress(what, len(keys))
    yes = 0
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        try:
            for result in pool.map(call, keys):
                yes += result
                progress.step()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    progress.end()
    return yes


def fewest(keys: Iterable[str], before: list[tuple[str, int]], after: list[tuple[str, int]]) -> int:
    """Return how many copies a change must make: one for each new server of each key."""
    return len(dht.Ring(before).moves(dht.Ring(after), keys))


def table(ring: Ring, title: str) -> None:
    """Print the servers by position with the keys that they hold."""
    stats = ring.stats()
    print(f"\n{title}\n  {'server':<22}{'position':>9}{'as primary':>12}{'keys held':>11}")
    for address, position in ring.positions():
        one = stats[address]
        print(f"  {address:<22}{position:>9,}{one['keys_primary']:>12,}{one['keys']:>11,}")
    total = [sum(one[field] for one in stats.values()) for field in ("keys_primary", "keys")]
    print(f"  {'':<22}{'':>9}{total[0]:>12,}{total[1]:>11,}\n", flush=True)


def change(ring: Ring, keys: Iterable[str], act: Callable[[], None], what: str) -> tuple[int, int]:
    """Change the members, wait until the ring has settled; return keys moved and the fewest."""
    positions = ring.positions()
    received = {address: one["keys_received"] for address, one in ring.stats().items()}
    began = time.monotonic()
    act()
    ring.wait_settled(what)
    print(f"{what} in {time.monotonic() - began:.1f} s", flush=True)
    after = ring.stats()
    moved = sum(one["keys_received"] - received.get(name, 0) for name, one in after.items())
    return moved, fewest(keys, positions, ring.positions())


def demonstrate(ring: Ring) -> bool:
    """Run the whole demonstration; return whether every value was right."""
    print(f"Starting viewleader.py and {SERVERS} server.py ...", flush=True)
    client = ring.start()
    ring.wait_settled("settled")
    values = pairs()

    each("Storing", values, lambda key: client.setr(key, values[key]) > 0)
    table(ring, f"The ring with {SERVERS} servers, three copies of {len(values):,} keys:")

    def join() -> None:
        ring.add_server().wait()
        print(f"A sixth server, {ring.servers[-1].address}, joins ...", flush=True)

    def fail() -> None:
        victim = ring.servers.pop(0)
        print(f"kill -9 of server {victim.address} (process {victim.process.pid}) ...", flush=True)
        victim.kill()

    joined = change(ring, values, join, "Settled with the sixth server")
    table(ring, "The ring with 6 servers:")
    failed = change(ring, values, fail, "Settled without the killed server")
    table(ring, "The ring after kill -9:")

    def is_right(key: str) -> bool:
        try:
            return bool(client.getr(key) == values[key])
        except KeyError:
            return False

    right = each("Reading", values, is_right)
    moved, least = joined[0] + failed[0], joined[1] + failed[1]
    print(f"\n{right:,} of {len(values):,} values are right.")
    print(f"{moved:,} keys moved; the fewest possible is {least:,}.", flush=True)
    return right == len(values)


def main() -> int:
    """Run, and clean up whatever happens; return the exit status."""

    def leave(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    ring = Ring()
    began = time.monotonic()
    try:
        good = demonstrate(ring)
        print(f"All in {time.monotonic() - began:.0f} s.")
    except KeyboardInterrupt:
        return 130
    except (Failure, dht.DhtError, OSError) as error:
        print(f"\nThe demonstration failed: {error!r}", file=sys.stderr)
        for program in ring.programs:
            said = " / ".join(program.lines)
            print(f"  {program.name} {program.address}: {said}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ring.stop()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
