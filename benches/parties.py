"""The programs that are measured, each started here and ended here."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Self

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
START_SECONDS_MAX = 30.0
POLL_SECONDS = 0.005  # a server joins within some 200 ms
SLOTS = 10_000
COPIES = 3
LISTENING = re.compile(rb"istening on \S*?(\d+)\r?\n")
HOW_TO_INSTALL = {
    "redis-server": "redis-server is not installed: apt install redis-server",
    "memcached": "memcached is not installed: apt install memcached",
    "etcd": "etcd is not installed: apt install etcd-server",
}


def wait_until(cond: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds, a while at most."""
    end = time.monotonic() + START_SECONDS_MAX
    while not cond():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {START_SECONDS_MAX} s: {what}")
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def ask(address: str, message: object) -> dict[str, Any]:
    """Send one of our requests and return the reply."""
    host, _, port = address.rpartition(":")
    body = json.dumps(message).encode()
    with socket.create_connection((host, int(port)), START_SECONDS_MAX) as sock:
        sock.sendall(len(body).to_bytes(4, "big") + body)
        data = b""
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            more = sock.recv(1 << 16)
            if not more:
                raise ConnectionError(f"{address} closed the connection")
            data += more
    reply: dict[str, Any] = json.loads(data[4:])
    return reply


class Party:
    """A program that listens."""

    def __init__(self, process: "subprocess.Popen[bytes]", address: str) -> None:
        self.process = process
        self.address = address

    @property
    def resident_bytes(self) -> int:
        """How much memory it has."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) * 1024 if found else 0

    @property
    def cpu_seconds(self) -> float:
        """How long it has computed, the system's part included."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Loader:
    """The load generator of `benches/load`."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def call(self, *words: object, **options: object) -> dict[str, float]:
        """Run it, and return what it found."""
        argv = self.argv(*words, **options)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    def argv(self, *words: object, **options: object) -> list[str]:
        """Return the command line of a call."""
        named = [
            part
            for name, value in options.items()
            for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        return [str(self.program), *map(str, words), *named]


class Parties:
    """Starts programs, and ends them all."""

    server_env: Mapping[str, str] = MappingProxyType({})
    """What servers have in their environment in addition."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, argv: Sequence[str], port: int = 0, cwd: Path | None = None) -> Party:
        """Start a program; it says its port itself where that is 0."""
        process, output = self._run(argv, cwd)

        def listening() -> bool:
            nonlocal port
            if process.poll() is not None:
                output.seek(0)
                raise RuntimeError(f"{argv[0]} ended: {output.read().decode(errors='replace')}")
            if not port:
                output.seek(0)
                found = LISTENING.search(output.read())
                output.seek(0, os.SEEK_END)
                port = int(found[1]) if found else 0
            return bool(port) and accepts(port)

        wait_until(listening, " ".join(argv))
        return Party(process, f"127.0.0.1:{port}")

    def _run(
        self, argv: Sequence[str], cwd: Path | None
    ) -> tuple["subprocess.Popen[bytes]", BinaryIO]:
        path = self.folder() / "output"
        output = self._stack.enter_context(path.open("w+b"))
        process = subprocess.Popen(argv, stdout=output, stderr=output, cwd=cwd, env=quiet_env())
        self._stack.callback(end, process)
        return process, output

    def bare(self, reply: str = "") -> Party:
        """Start the limit: our sockets and frames, and one reply to everything."""
        return self.start(self.loader.argv("bare", **({"reply": reply} if reply else {})))

    def viewleader(self) -> Party:
        """Start a view leader."""
        argv = [sys.executable, str(SCRIPTS / "viewleader.py"), "--quiet", "--port", "0"]
        return self.start(argv)

    def original_viewleader(self) -> Party:
        """Start a view leader that does what the original's does, no more."""
        port = free_port()
        argv = [sys.executable, "-m", "originals.viewleader", "--port", str(port)]
        return self.start(argv, port, ROOT / "tests" / "python")

    def server(self, leader: Party, *options: str) -> Party:
        """Start a server, with options of its own."""
        env = [f"{name}={value}" for name, value in self.server_env.items()]
        argv = ["env", *env, sys.executable, str(SCRIPTS / "server.py"), "--quiet", "--port", "0"]
        return self.start([*argv, "--viewleader", leader.address, *options])

    def ring(self, servers: int, *options: str) -> tuple[Party, list[Party]]:
        """Start a view leader and servers with these options, and wait until nothing moves."""
        leader = self.viewleader()
        members = [self.server(leader, *options) for _ in range(servers)]
        wait_until(lambda: settled(leader, servers), "the ring to settle")
        return leader, members

    def redis(self, replicas: int = 0) -> Party:
        """Start Redis, without persistence, and as many replicas as are wanted."""
        port = free_port()
        plain = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        folder = self.folder()
        primary = self.start(["redis-server", "--port", str(port), *plain], port, folder)
        for _ in range(replicas):
            own = free_port()
            follow = ["--replicaof", "127.0.0.1", str(port), "--repl-diskless-load", "swapdb"]
            argv = ["redis-server", "--port", str(own), *plain, *follow]
            self.start(argv, own, self.folder())
        if replicas:
            online = f"connected_slaves:{replicas}".encode()
            wait_until(
                lambda: (
                    (told := redis_info(primary)).count(b"state=online") == replicas
                    and online in told
                ),
                "Redis to have its replicas",
            )
        return primary

    def memcached(self) -> Party:
        """Start memcached with one worker thread, as Redis and ours have."""
        port = free_port()
        argv = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-t", "1", "-m", "1024"]
        if os.geteuid() == 0:
            argv += ["-u", "nobody"]
        return self.start(argv, port)

    def etcd(self, members: int = 3) -> str:
        """Start a cluster of etcd with its data in memory; the addresses, separated by commas."""
        ports = [(free_port(), free_port()) for _ in range(members)]
        cluster = ",".join(f"m{n}=http://127.0.0.1:{peer}" for n, (_, peer) in enumerate(ports))
        found = []
        for n, (client, peer) in enumerate(ports):
            argv = ["etcd", "--name", f"m{n}", "--data-dir", str(self.folder())]
            argv += ["--listen-client-urls", f"http://127.0.0.1:{client}"]
            argv += ["--advertise-client-urls", f"http://127.0.0.1:{client}"]
            argv += ["--listen-peer-urls", f"http://127.0.0.1:{peer}"]
            argv += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"]
            argv += ["--initial-cluster", cluster, "--log-level", "error"]
            self._run(argv, None)
            found.append(f"127.0.0.1:{client}")
        addresses = ",".join(found)
        wait_until(lambda: self._etcd_writes(addresses), "etcd to take a write")
        return addresses

    def _etcd_writes(self, addresses: str) -> bool:
        try:
            load = {"dialect": "etcd", "addr": addresses, "clients": 3, "count": 3}
            self.loader.call("run", work="setr", **load)
        except RuntimeError:
            return False
        return True

    def folder(self) -> Path:
        """Return a folder for data, in memory where there is one."""
        memory = Path("/dev/shm")  # noqa: S108  # the folder below it has a name of its own
        made = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        return Path(self._stack.enter_context(made))


def settled(leader: Party, servers: int) -> bool:
    """Return whether so many servers are in the view, each name has its copies, nothing moves."""
    told = ask(leader.address, {"cmd": "query_servers", "dht": 1})
    ranges = told["dht"]["ranges"]
    whole = sum(end - start for start, end, *_ in ranges) == SLOTS
    copies = all(len(active) == min(COPIES, servers) for _, _, _, active, *_ in ranges)
    return bool(told["dht"]["settled"]) and len(told["result"]) == servers and whole and copies


def redis_info(primary: Party) -> bytes:
    """Return what Redis says of itself."""
    host, _, port = primary.address.rpartition(":")
    with socket.create_connection((host, int(port)), START_SECONDS_MAX) as sock:
        sock.sendall(b"INFO\r\nQUIT\r\n")
        data = b""
        while more := sock.recv(1 << 16):
            data += more
    return data


def installed(name: str) -> bool:
    """Return whether a program is installed."""
    return shutil.which(name) is not None


def accepts(port: int) -> bool:
    """Return whether somebody listens on a port."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0):
            return True
    except OSError:
        return False


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a program that was started here."""
    process.kill()
    process.wait()


def quiet_env() -> dict[str, str]:
    """Return the environment without settings that change what our programs do."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DHT_")}
