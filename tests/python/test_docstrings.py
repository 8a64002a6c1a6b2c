"""Every example of a docstring does what it says, those of the stubs and of coroutines too."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import importlib
import inspect
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import dht
import dht.cluster
import dht.events
from dht import _dht
from harness import ROOT, wait_until

PACKAGE = ROOT / "python" / "dht"
MARK = ">" + ">> "


@dataclass(frozen=True)
class Docstring:
    """One that has examples."""

    file: Path
    name: str
    text: str

    @property
    def module(self) -> str:
        """The module whose names the examples may use."""
        dotted = ".".join(self.file.relative_to(ROOT / "python").with_suffix("").parts)
        return dotted.removesuffix(".__init__")


def docstrings(file: Path) -> Iterator[Docstring]:
    """Those of a file that have examples."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            if MARK in text:
                yield Docstring(file, getattr(node, "name", "module"), text)


FILES = sorted(path for path in PACKAGE.rglob("*.py*") if path.suffix in {".py", ".pyi"})
ALL = [each for file in FILES for each in docstrings(file)]


@contextmanager
def client_of(docstring: Docstring) -> Iterator[Any]:
    """A client of the module's kind."""
    kinds: Mapping[str, Callable[[str], Any]] = {
        "dht.aio": dht.AsyncClient,
        "dht._replicated_async": dht.AsyncClient,
        "dht._dht": lambda leader: _dht.Client(viewleader=leader),
    }
    if docstring.module in kinds:
        with dht.Cluster() as cluster:
            yield kinds[docstring.module](cluster.viewleader.address)
    else:
        with dht.Cluster(clock="virtual", seed=1) as cluster:
            yield cluster.client()


@contextmanager
def leader_of(docstring: Docstring) -> Iterator[dht.ViewLeader]:
    """The view leader of a settled ring of one."""
    with dht.ViewLeader(listen=0) as leader, dht.Server(leader.address):
        wait_until(lambda: leader.statistics().slots_settled, what="the slots to be given")
        yield leader


@contextmanager
def server_of(docstring: Docstring) -> Iterator[dht.Server]:
    """A server that holds nothing."""
    with dht.ViewLeader(listen=0) as leader, dht.Server(leader.address) as server:
        yield server


@contextmanager
def events_of(docstring: Docstring) -> Iterator[Any]:
    """The events of a view leader to which a second server has come; none was taken."""
    with ExitStack() as stack:
        leader = stack.enter_context(dht.ViewLeader(listen=0))
        stack.enter_context(dht.Server(leader.address))
        wait_until(lambda: leader.statistics().slots_settled, what="the slots to be given")
        events = stack.enter_context(leader.events())
        told = stack.enter_context(leader.events(timeout=5))
        stack.enter_context(dht.Server(leader.address))
        next(event for event in told if event.kind == "settled")
        yield events


# What an example may use without making it, as the reader of the docstring has it.
PREPARED: Mapping[str, Callable[[Docstring], AbstractContextManager[Any]]] = {
    "client": client_of,
    "leader": leader_of,
    "server": server_of,
    "events": events_of,
}


@pytest.mark.parametrize("docstring", ALL, ids=lambda each: f"{each.file.name}-{each.name}")
def test_examples_do_what_they_say(docstring: Docstring) -> None:
    """As if somebody typed them, one after another, with nothing but the module's names."""
    examples = doctest.DocTestParser().get_examples(docstring.text)
    with ExitStack() as stack, asyncio.Runner() as runner:
        names = dict(vars(importlib.import_module(docstring.module))) | {"dht": dht}
        for name, prepare in PREPARED.items():
            if needs(name, "".join(example.source for example in examples)):
                names[name] = stack.enter_context(prepare(docstring))
        for example in examples:
            printed = typed(example.source, names, runner)
            if not doctest.OutputChecker().check_output(example.want, printed, 0):
                pytest.fail(f"{example.source}prints\n{printed}and not\n{example.want}")
        client = names.get("client")
        if isinstance(client, dht.AsyncClient):
            runner.run(client.close())


def needs(name: str, source: str) -> bool:
    """Whether examples use a name before they make it."""
    first = re.search(rf"\b{name}\b", source)
    made = re.search(rf"\bas {name}\b|^(?:\.\.\. )? *{name} = ", source, re.MULTILINE)
    return first is not None and (made is None or first.start() < made.start())


def typed(source: str, names: dict[str, Any], runner: asyncio.Runner) -> str:
    """What the interpreter prints when somebody types this; `await` is understood."""
    code = compile(source, "<docstring>", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = FunctionType(code, names)()
        if inspect.iscoroutine(result):
            runner.run(result)
    return printed.getvalue()


def test_there_are_examples() -> None:
    """The files are looked through, and wherever the mark stands an example was found."""
    marks = sum(file.read_text(encoding="utf-8").count(MARK) for file in FILES)
    parse = doctest.DocTestParser().get_examples
    assert marks == sum(len(parse(each.text)) for each in ALL) > 50
