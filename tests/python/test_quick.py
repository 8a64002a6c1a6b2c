"""`client.py` reads usual words without `argparse`, and loads nothing that it does not need."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

from dht import _json
from dht.cli import _parser as argparsing
from dht.cli import _quick, client
from harness import clean_env, script
from rings import Ring

OPTIONS = [
    [],
    ["--server", "127.0.0.1:38000"],
    ["--server=somewhere"],
    ["--viewleader", "h", "--server", "g", "--server", "h:1"],
    ["--timeout", "1.5", "--fail"],
    ["--max-message-size=1000", "--fail", "--fail"],
]
COMMANDS = [
    ["get", "apple"],
    ["get", ""],
    ["set", "a name", "a = value"],
    ["setr", "\u2603", "\udcff"],
    ["getr", "get"],
    ["print"],
    ["print", "good", "", "morning"],
    ["query_all_keys"],
    ["query_servers"],
    ["lock_get", "L", "ann"],
    ["lock_release", "L", "ann"],
]
UNUSUAL = [
    [],
    ["--help"],
    ["--version"],
    ["get", "--help"],
    ["--serv", "h", "get", "a"],
    ["--server"],
    ["--server", "-h", "get", "a"],
    ["--server=", "get", "a"],
    ["--server", "h:x", "get", "a"],
    ["--server", "h:x", "--server", "h", "get", "a"],
    ["--fail=1", "get", "a"],
    ["--timeout", "no time", "get", "a"],
    ["-5", "get", "a"],
    ["--", "get", "a"],
    ["get"],
    ["get", "a", "b"],
    ["get", "--", "-a"],
    ["set", "temperature", "-5"],
    ["get", "a", "--fail"],
    ["ge", "a"],
    ["nonsense"],
]


def quickly(words: Sequence[str]) -> _quick.Arguments | None:
    """What is read without `argparse`."""
    return _quick.read(words, client.OPTIONS, client.COMMANDS, client.SEVERAL)


@pytest.mark.parametrize("environment", [{}, {"DHT_SERVER": "there:9", "DHT_FAIL": "yes"}])
def test_both_readers_read_the_same(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is read quickly is what `argparse` makes of it, and the usual is read quickly."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for options, command in itertools.product(OPTIONS, COMMANDS):
        words = [*options, *command]
        found = quickly(words)
        assert found is not None, words
        parser = client._parser()
        wanted = argparsing.finish(parser, parser.parse_args(words), client.OPTIONS)
        assert vars(found) == vars(wanted), words


@pytest.mark.parametrize("words", UNUSUAL, ids=" ".join)
def test_what_is_not_usual_is_left_to_argparse(words: list[str]) -> None:
    """It knows help, abbreviations, `--`, and what to say of each mistake."""
    assert quickly(words) is None


def test_a_wrong_environment_is_left_to_argparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the option is not given: the option wins."""
    monkeypatch.setenv("DHT_TIMEOUT", "soon")
    assert quickly(["get", "a"]) is None
    assert quickly(["--timeout", "1", "get", "a"]) is not None


def loaded(*argv: str) -> set[str]:
    """The modules that an interpreter imports while it runs something."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *argv],
        capture_output=True,
        text=True,
        env=clean_env(),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_a_command_loads_what_it_needs(ring: Ring) -> None:
    """Neither `argparse` nor `json`, `re` or `typing`: they take longer than the command."""
    heavy = {"argparse", "json", "re", "typing", "enum", "collections", "importlib", "dht.client"}
    heavy -= loaded("-c", "pass")  # what somebody's `.pth` files load in any case
    for command in (["setr", "light", "feather"], ["getr", "light"], ["get", "light"], ["print"]):
        words = loaded(script("client.py")[-1], *ring.hosts(), *command)
        assert "dht.cli.client" in words
        assert not heavy & words, command


@pytest.mark.parametrize(
    "text", ["", "apple", 'a "b"', "a\\b", "\x7f", "\n", "\u2603", "\ud800", "\U0001f600", "a'b c"]
)
def test_quote(text: str) -> None:
    """A string is written as `json.dumps` writes it."""
    assert _json.quote(text) == json.dumps(text)


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "true",
        "false",
        " [ ] ",
        "{ }",
        '{"a": [1, -2, 3.5, 1e3, -0, -0.0, 1E-400, 1e400], "b": {"c": {}}, "": [[], [[]]]}',
        '{"a": 1, "b": 2, "a": 3}',
        '[ "x" , "\\"\\\\\\/\\b\\f\\n\\r\\t" , "\\u2603\\ud83d\\ude00" ]',
        '["\\ud800", "\\ude00\\ud83d", "\\ud83d\\u0041"]',
        "[NaN, Infinity, -Infinity]",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "1" * 4_000,
        "[" * 900 + "]" * 900,
        '"\u2603 caf\u00e9"',
        '"' + "x" * 100_000 + '"',
    ],
    ids=range(17),
)
def test_reading_json(text: str) -> None:
    """It is what `json.loads` gives, types and order included."""
    found, wanted = _json.loads(text), json.loads(text)
    assert repr(found) == repr(wanted)
    assert list(found) == list(wanted) if isinstance(wanted, dict) else True


def test_an_integer_of_more_digits_than_python_converts() -> None:
    """It is kept as its digits."""
    for text in ("1" * 4_001, "-" + "9" * 5_000):
        found = _json.loads(f"[{text}]")[0]
        assert isinstance(found, _json.Digits)
        assert repr(found) == text


@pytest.mark.parametrize(
    "text",
    ["", " ", "[1,]", '{"a"}', '"', '"\\', '"\\u12', "[", "1 2", "nul", "-", "[" * 902 + "]" * 902],
)
def test_what_is_no_json(text: str) -> None:
    """It is a `ValueError`, whatever is wrong."""
    with pytest.raises(ValueError, match="JSON"):
        _json.loads(text)
