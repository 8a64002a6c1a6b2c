"""Every transcript of the wire in `tests/golden/wire`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conftest import StartProgram
from harness import GOLDEN, answers, original, script, wait_until
from rawwire import ask
from rings import Ring
from transcripts import Runner, Transcript, matches, parse

TRANSCRIPTS = [Transcript.read(path) for path in sorted((GOLDEN / "wire").glob("*.txt"))]


def vote_in_epoch(port: int, epoch: int) -> bool:
    """Whether a server votes, and in this epoch; its vote is taken back."""
    request = {"cmd": "setr_request", "key": "is the server in the view"}
    reply = ask(port, request)
    ask(port, {**request, "cmd": "setr_deny"})
    return reply == {"reply": "ok", "epoch": epoch}


CASES = [
    pytest.param(transcript, role, id=f"{transcript.path.stem}-{role}")
    for transcript in TRANSCRIPTS
    for role in transcript.roles()
]


@pytest.mark.parametrize(("transcript", "role"), CASES)
def test_transcript(
    transcript: Transcript, role: str, start: StartProgram, make_ring: Callable[..., Ring]
) -> None:
    """The program answers, closes and prints as the file says."""
    if role == "viewleader":
        program = start(script("viewleader.py", "--port", "0", *transcript.options))
        wait_until(lambda: answers(program.port, "query_servers"), what="the view leader")
    else:
        program = make_ring(1, server_options=transcript.options).servers[0]
        wait_until(lambda: vote_in_epoch(program.port, 1), what="the server to know the epoch")
    Runner(program).play(transcript)


@pytest.mark.parametrize("name", ["server", "votes", "viewleader", "leases", "locks"])
def test_the_stand_ins_pass_too(
    name: str, start: StartProgram, make_ring: Callable[..., Ring]
) -> None:
    """The tables describe the originals: their stand-ins answer in the same way."""
    transcript = next(each for each in TRANSCRIPTS if each.path.stem == name)
    if transcript.role == "viewleader":
        program = start(original("viewleader", "--port", "0", *transcript.options))
        wait_until(lambda: answers(program.port, "query_servers"), what="the view leader")
    else:
        ring = make_ring(1, original_leader=True, original_servers=True)
        program = ring.servers[0]
        wait_until(lambda: vote_in_epoch(program.port, 1), what="the server to know the epoch")
    Runner(program).play(transcript)


def test_matching_is_strict_about_numbers_and_fields() -> None:
    """The comparison itself: texts of numbers count, so do missing and additional fields."""
    assert matches(parse('{"a": 1.0, "b": "$int"}'), parse('{"b": 7, "a": 1.0}'))
    assert not matches(parse('{"a": 1.0}'), parse('{"a": 1}'))
    assert not matches(parse('{"a": 1}'), parse('{"a": 1, "b": 2}'))
    assert not matches(parse('{"a": 1, "b": 2}'), parse('{"a": 1}'))
    assert not matches(parse('{"error": "$line"}'), parse('{"error": "two\\nlines"}'))
    assert not matches(parse('{"a": {"$unordered": ["x", "y"]}}'), parse('{"a": ["x", "x"]}'))
