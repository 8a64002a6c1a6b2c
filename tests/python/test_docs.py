"""The documentation says what is: its examples run, its tables match the source, its links lead
somewhere."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import chaos.run
import dht
import postcard
from consoles import Console, steps
from docpages import PAGES, Block, anchors, blocks, links, prose, table
from harness import ROOT, run, script, wait_until
from rawwire import Connection, ask

README, PROTOCOL, ARCHITECTURE, TESTING = (
    ROOT / "README.md",
    ROOT / "docs" / "protocol.md",
    ROOT / "docs" / "architecture.md",
    ROOT / "docs" / "testing.md",
)
KINDS = table(PROTOCOL, "kind", "name", "fields", "meaning")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file, and where they name one to a heading."""
    for link in links(page):
        target, _, anchor = link.partition("#")
        if not target.startswith("https://"):
            file = page.parent / target if target else page
            assert file.is_file(), link
            assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    """Every path in back quotes is one of the repository, or a pattern of some."""
    for path in re.findall(r"`((?:src|tests|scripts|python|docs)/[^`\s,]+)`", prose(page)):
        assert list(ROOT.glob(path.rstrip("/"))), path


def test_bugs_and_promises_are_held_by_tests() -> None:
    """Every test that the lists of found bugs and of promises name is there."""
    columns = ("what it was", "how it was found", "seed", "test that holds it")
    rows = table(ROOT / "docs" / "found-bugs.md", *columns)
    rows += table(ROOT / "docs" / "guarantees.md", "promise", "shown by")
    for row in rows:
        assert row[-1], row[0]
        for place in row[-1].split("; "):
            file, _, name = place.partition(": ")
            text = (ROOT / file).read_text(encoding="utf-8")
            assert not name or re.search(rf"\b(?:fn|def) {name}\(", text), place


def test_planted_bugs_are_those_of_the_source() -> None:
    """Each with its rule and the seed that noticed it."""
    source = (ROOT / "src/core/planted.rs").read_text(encoding="utf-8")
    body = source.partition("\nbugs! {")[2].partition("\n}")[0]
    rules = dict(re.findall(r'(\w+): "[^"]+",\s+"([^"]+)";', body))
    data = (ROOT / "tests/data/planted.txt").read_text(encoding="utf-8")
    seeds = dict(line.split() for line in data.splitlines())
    rows = table(TESTING, "bug", "rule that it removes", "seed", "noticed by")
    listed = {name: (rule, seed) for name, rule, seed, _ in rows}
    assert set(listed) == set(rules)
    for name, rule in rules.items():
        assert listed[name] == (rule.replace("`", ""), seeds[name]), name


def test_faults_and_invariants_are_those_of_the_source() -> None:
    """Every kind of fault, simulated or of real processes, and every file with a rule."""
    source = (ROOT / "src/sim/chaos/faults.rs").read_text(encoding="utf-8")
    body = source.partition("enum Kind {")[2].partition("\n}")[0]
    kinds = re.findall(r"^    (\w+),$", body, re.MULTILINE)
    assert [row[0] for row in table(TESTING, "fault", "what happens")] == kinds
    assert [row[0] for row in table(TESTING, "kind", "what happens")] == chaos.run.KINDS
    files = (ROOT / "src/sim/invariants").glob("*.rs")
    rules = {file.name for file in files if "impl Rule for" in file.read_text(encoding="utf-8")}
    assert {row[0] for row in table(TESTING, "file", "states")} == rules


def test_make_targets_exist() -> None:
    """Every `make TARGET` is one of the Makefile."""
    targets = set(re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"(?:`|^)make (?:PYTHON=\S+ )?([a-z-]+)", text, re.MULTILINE)
        assert set(named) <= targets, page


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: block.name)
def test_console_sessions_run(block: Block, tmp_path: Path) -> None:
    """Each command prints what the page says; see `consoles.py` for what is adapted."""
    with Console(ROOT / "scripts", tmp_path, block.text) as console:
        for step in steps(console.text):
            console.play(step)


def test_limits_are_those_of_the_source() -> None:
    """Name, file and value of every limit, and none is missing."""
    listed = {}
    for name, file, default, *_ in table(
        ARCHITECTURE, "name", "file", "default", "unit", "what it bounds"
    ):
        listed[file, name] = default
    found = {}
    for path in [*(ROOT / "src").rglob("*.rs"), *(ROOT / "python").rglob("*.py")]:
        found.update(limits_of(path))
    here = {place for place in found if place[0].startswith(("src/core/", "src/net/", "src/py/"))}
    for file, name in set(listed) - set(found):
        elsewhere = [place for place, other in found if other == name]
        raise AssertionError(f"{name} is listed for {file}, and defined in {elsewhere}")
    assert {place: found[place] for place in listed} == listed
    # What says how something is told, or is nobody's to notice.
    others = {"PEER_MARK", "EXTENSION_VERSION", "FOREVER_MS", "LED", "USED_BYTES"}
    others |= {"ONES", "HIGHS"}  # of each byte of a word
    others |= {"OVERTAKEN", "WITHOUT_RING", "NAME_AT"}  # how a value of `set` lies in memory
    others |= {"PUT", "REMOVE", "REMOVE_RANGE"}  # how a log names its edits
    others |= {"STANDING", "CELL", "REQUEST", "MEMORY", "LOCAL"}  # and keys their rows
    missing = {place for place in here if place not in listed and place[1] not in others}
    assert not missing, f"in the source, and not listed: {missing}"


def limits_of(path: Path) -> dict[tuple[str, str], str]:
    """The numbers that a source file names: constants, and the defaults of its options."""
    text, file = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
    found = {}
    if path.suffix == ".py":
        for name, value in re.findall(r"^([A-Z_]+) = ([\d._]+)$", text, re.MULTILINE):
            found[file, name] = f"{float(value):,g}"
        return found
    text = text.partition("#[cfg(test)]")[0]
    for name, value in re.findall(r"\bconst ([A-Z_]+): \w[^=]* = ([^;\"]+);", text):
        found[file, name] = shown(value)
    for name, fields in re.findall(
        r"impl Default for (\w+) \{.*?\n        \1 \{(.*?)\}", text, re.DOTALL
    ):
        for field, value in re.findall(r"(\w*(?:_ms|_max|_per_s)\w*): ([^,}]+)", fields):
            found[file, f"{name}.{field}"] = shown(value.strip())
    return found


def shown(value: str) -> str:
    """A Rust number as the table writes it."""
    value = re.sub(r"^Duration::from_millis\((.*)\)$", r"\1", value).replace("_", "")
    if value == "FRAMEBYTESMAX":
        value = "16 * 1024 * 1024"
    if ports := re.fullmatch(r"(\d+)\.\.(\d+)", value):
        return f"{int(ports[1]):,}\N{EN DASH}{int(ports[2]) - 1:,}"
    if not re.fullmatch(r"[0-9a-fx *<]+", value):
        return value
    return f"{eval(value):,}"  # digits, products and shifts alone


def test_the_commands_table() -> None:
    """Exactly the commands of `client.py`, each with its arguments."""
    listed = [row[0] for row in table(README, "command", "asks", "does")]
    text = run(script("client.py", "--help")).stdout
    names = re.findall(r"^    (\w+) +\S", text, re.MULTILINE)
    offered = []
    for name in names:
        usage = run(script("client.py", name, "--help")).stdout.splitlines()[0]
        usage = usage.replace("[WORD ...]", "WORD…").partition("[-h] ")[2]
        offered.append(f"{name} {usage}".strip())
    assert listed == offered


def test_the_options_table() -> None:
    """Exactly the options and variables that the three programs explain."""
    programs = ["viewleader.py", "server.py", "client.py"]
    rows = table(README, "option", "environment", *programs, "default")
    for number, program in enumerate(programs, 2):
        text = " ".join(run(script(program, "--help")).stdout.split())
        usage, _, explained = text.partition(" options: ")
        offered = set(re.findall(r"\[(--[a-z-]+(?: [A-Z]+)?)\]", usage)) | {"--help"}
        variables = set(re.findall(r"environment: (DHT_[A-Z_]+)", explained))
        mine = [row for row in rows if row[number] == "yes"]
        assert {row[0] for row in mine} == offered, program
        assert {row[1] for row in mine} - {""} == variables, program


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[dht.ViewLeader, dht.Server]]:
    """A view leader and a server."""
    with (
        dht.ViewLeader(bind="127.0.0.1") as leader,
        dht.Server(leader.address, bind="127.0.0.1") as server,
    ):
        view = {"cmd": "query_servers"}
        wait_until(lambda: ask(leader.port, view)["result"], what="the server to join")
        with dht.Client(leader.address) as client:
            client.setr("warm", 1)  # once the leader gives slots away
        yield leader, server


def test_dialogues(pair: tuple[dht.ViewLeader, dht.Server]) -> None:
    """Each request of the page gets a reply of the form that the page shows."""
    ports = {"viewleader": pair[0].port, "server": pair[1].port}
    dialogues = [line for block in blocks("dialogue") for line in block.text.splitlines()]
    assert len(dialogues) > 10
    # The heartbeat makes a member of a server that nobody runs: it comes last.
    both = zip(dialogues[0::2], dialogues[1::2], strict=True)
    for said, expected in sorted(both, key=lambda each: "heartbeat" in each[0]):
        party, _, request = said.partition(" > ")
        with Connection(ports[party]) as connection:
            connection.send_text(request)
            reply = json.loads(connection.read_text())
        assert form(reply) == form(json.loads(expected.removeprefix("< "))), said


def form(value: Any) -> Any:
    """What stays of a reply when addresses, identities and numbers do not count."""
    if isinstance(value, dict):
        return {name: form(field) for name, field in value.items()}
    if isinstance(value, list):
        return [form(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"^[\d.:]+$", "a number or address", value)
    return value if value is None or isinstance(value, bool) else type(value)


def test_the_kinds_of_messages_are_those_of_the_source() -> None:
    """The same kinds in the same order, with the same fields in the same order."""
    text = (ROOT / "src/core/wire/peer.rs").read_text(encoding="utf-8")
    body = re.sub(r"///.*", "", text.partition("pub enum Body<'a> {")[2].partition("\n}")[0])
    # One thing to who holds it, and on the wire a name and then its cell.
    body = body.replace("cell: CellRef<'a>", "key: Text, cell: Cell")
    source = []
    for match in re.finditer(r"^    (\w+)(?:\(([^)]*)\)| \{(.*?)\n    \}),", body, re.M | re.S):
        fields = re.findall(r"(\w+): [^,]+,", match[3] or "")
        source.append((match[1], fields or [{"Vec<Entry>": "list of entry"}.get(match[2], "span")]))
    listed = [(name, [field for field, _ in fields]) for name, fields in postcard.kinds(KINDS)]
    assert listed == source


def test_the_dumps_of_messages() -> None:
    """They are what the page says that they are."""
    dumps = [re.sub(r"  .*", "", block.text, flags=re.M) for block in blocks("hex", PROTOCOL)]
    confirm, chunk = [postcard.decode(bytes.fromhex(dump), KINDS) for dump in dumps]
    sender = ["0.9591840085061731", "127.0.0.1:45417"]
    assert confirm == (sender, "0.25", "Confirm", {"span": [0, 10000, 2], "round": 0})
    assert chunk[:3] == (sender, "0.25", "Chunk")
    assert chunk[3]["span"][0] == dht.hash_key("apple")
    part = chunk[3]["part"]
    [[name, cell]] = part["cells"]
    assert (name, cell["value"], part["last"]) == ("apple", '{"colour": "red"}', True)


def test_messages_of_a_running_server(pair: tuple[dht.ViewLeader, dht.Server]) -> None:
    """What a server sends to a joiner can be read by the page alone."""
    leader, server = pair
    with dht.Client(leader.address) as client, ExitStack() as stack:
        client.setr("apple", ["red", "\ud800"])
        heard = listen(stack, leader.port)

        def chunks() -> dict[str, str]:
            parts = [said[3]["part"] for said in list(heard) if said[2] == "Chunk"]
            return {name: cell["value"] for part in parts for name, cell in part["cells"]}

        wait_until(lambda: "apple" in chunks(), what="the chunk of the name")
    assert json.loads(chunks()["apple"]) == ["red", "\ud800"]
    assert {said[0][1] for said in heard} == {server.address}
    assert {"Teach", "Confirm"} < {said[2] for said in heard}


def listen(stack: ExitStack, leader_port: int) -> list[tuple[Any, ...]]:
    """Joins the ring as a server that only begins to; returns what it will hear of replicas."""
    heard: list[tuple[Any, ...]] = []
    kinds = [name for name, _ in postcard.kinds(KINDS)]

    def begin(said: tuple[Any, ...]) -> None:
        """Says to a primary that asks for it that this server stands at its revision."""
        own = (said[1], f"127.0.0.1:{port}")
        span, number = said[3]["span"], kinds.index("Confirmed")
        host, _, at = said[0][1].rpartition(":")
        answer = postcard.confirmed(own, said[0][0], span, number)
        connection = stack.enter_context(socket.create_connection((host, int(at))))
        for frame in (b"\xd1", answer):
            connection.sendall(len(frame).to_bytes(4, "big") + frame)

    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = listener.getsockname()[1]

    def hear(sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as stream:
            while len(header := stream.read(4)) == 4:
                message = stream.read(int.from_bytes(header, "big"))
                if message[:1] == b"\xd1" and len(message) > 1:  # one byte is the announcement
                    heard.append(postcard.decode(message, KINDS))
                    if heard[-1][2] == "Confirm":
                        begin(heard[-1])

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=hear, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    stack.callback(listener.shutdown, socket.SHUT_RDWR)
    extension = {"version": 1, "holds": []}
    ask(leader_port, {"cmd": "heartbeat", "port": port, "requestor": 0.5, "dht": extension})
    return heard
