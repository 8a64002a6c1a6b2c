"""The examples of the documentation run, and `docs/python.md` lists what the library has."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

import dht
import dht.cluster
import dht.errors
from docpages import Block, blocks, table
from harness import ROOT, run

LIBRARY = ROOT / "docs" / "python.md"
SCRIPTS = [block for block in blocks("python") if not block.file]
FILES = [
    list(group)
    for _, group in groupby((block for block in blocks("python") if block.file), lambda b: b.page)
]


@pytest.mark.parametrize("block", SCRIPTS, ids=lambda block: block.name)
def test_examples_run(block: Block) -> None:
    """Each runs as it stands, and the page tells right behind it what it prints."""
    done = run([sys.executable, "-W", "error", "-c", block.text])
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout, "an example that prints nothing shows nothing"
    assert block.told == done.stdout.rstrip("\n")


@pytest.mark.parametrize("files", FILES, ids=lambda files: files[0].page.name)
def test_examples_for_pytest_pass(files: list[Block], tmp_path: Path) -> None:
    """The files of a page, side by side: each of their tests passes."""
    for block in files:
        (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    tests = sum(len(re.findall(r"^def test_", block.text, re.MULTILINE)) for block in files)
    options = ("-p", "no:cacheprovider", "--strict-markers", "-W", "error", "-q")
    done = run([sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", str(tmp_path)])
    assert tests
    assert re.search(rf"^{tests} passed in ", done.stdout, re.MULTILINE), done.stdout


def test_every_name_has_its_row() -> None:
    """Each of `dht.__all__` once: the errors in their table, all others in theirs."""
    rows = [row[0].removesuffix(" †") for row in table(LIBRARY, "name", "what it is")]
    rows += errors()
    assert sorted(rows) == sorted(dht.__all__)


def test_what_is_loaded_later_is_marked() -> None:
    """So says the page, and so does the package."""
    rows = [row[0] for row in table(LIBRARY, "name", "what it is")]
    assert {row.removesuffix(" †") for row in rows if row.endswith("†")} == set(dht._LATER)


def errors() -> dict[str, list[str]]:
    """The rows of the table of errors."""
    rows = table(LIBRARY, "error", "also a", "did it happen?", "what to do")
    return {name: rest for name, *rest in rows}


def test_the_table_of_errors() -> None:
    """All of them, their bases, and what their classes say of what happened."""
    rows = errors()
    assert sorted(rows) == sorted(dht.errors.__all__)
    for name, (bases, happened, advice) in rows.items():
        kind = getattr(dht, name)
        assert bases == ", ".join(base.__name__ for base in kind.__bases__), name
        assert (happened == "no") == issubclass(kind, dht.DidNotHappen), name
        assert advice, name


@pytest.mark.parametrize(
    "kind",
    [dht.Client, dht.Server, dht.Cluster, dht.cluster.ClusterServer, dht.Ring],
    ids=lambda kind: kind.__name__,
)
def test_the_tables_of_methods(kind: type) -> None:
    """Each public method with its parameters, and each property."""
    module = "dht.cluster." if kind is dht.cluster.ClusterServer else "dht."
    rows = [row[0] for row in table(LIBRARY, module + kind.__name__, "does")]
    assert sorted(rows) == sorted(public(kind))


def public(kind: type) -> Iterator[str]:
    """The public attributes of a class as the tables write them."""
    for name in dir(kind):
        value = getattr(kind, name)
        if name.startswith("_"):
            continue
        if not callable(value):
            yield name
            continue
        parameters = [each for each in inspect.signature(value).parameters if each != "self"]
        yield f"{name}({', '.join(parameters)})"


def test_asyncio_has_the_same_methods() -> None:
    """All but what the page says that it does not have."""
    assert set(public(dht.Client)) - set(public(dht.AsyncClient)) == {"over(transport)"}
    assert set(public(dht.AsyncClient)) <= set(public(dht.Client))


def test_the_table_of_events() -> None:
    """Every class of event, with its kind."""
    rows = table(LIBRARY, "event", "kind", "tells")
    kinds = {each.__name__: each.kind for each in dht.Event.__args__}
    assert {name: kind for name, kind, _ in rows} == kinds
