"""Fixtures: rings of real processes, and programs that never outlive their test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pytest

from harness import Program
from rings import Ring

# Shells have what they start in the background ignore Ctrl-C, and with it all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class StartProgram(Protocol):
    """Starts a program that is killed when the test ends."""

    def __call__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Program:
        """Starts `argv`."""
        ...


@pytest.fixture
def start() -> Iterator[StartProgram]:
    """Starts programs and kills them when the test ends."""
    programs: list[Program] = []

    def begin(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Program:
        programs.append(Program(argv, env))
        return programs[-1]

    yield begin
    for program in programs:
        program.kill()


@pytest.fixture
def make_ring() -> Iterator[Callable[..., Ring]]:
    """Starts rings (arguments as of `Ring`) and stops them when the test ends."""
    rings: list[Ring] = []

    def begin(*args: Any, **options: Any) -> Ring:
        rings.append(Ring(*args, **options))
        return rings[-1]

    yield begin
    for ring in rings:
        ring.stop()


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    """A ring of three servers for the tests of one file that leave its members as they are."""
    shared = Ring(3)
    yield shared
    shared.stop()
