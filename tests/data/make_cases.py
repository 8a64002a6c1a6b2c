"""Asks Python itself what its JSON and SHA-1 do, and writes the answers as data files.

Run it by hand after adding a case; the Rust tests only read what it wrote:

    python3 tests/data/make_cases.py

Bytes that are not printable ASCII, and `%`, stand in the files as `%XX`.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

FOLDER = Path(__file__).parent
SLOT_COUNT = 10_000

WHOLE = [
    # Literals, and words that only look like them.
    "null", "true", "false", "NaN", "Infinity", "-Infinity", "-NaN", "+Infinity", "nan", "inf",
    "True", "None", "nul", "nulll", "NaNNaN", "Infinity1", "- Infinity", "--1", "undefined",
    # Numbers.
    "0", "-0", "1", "-1", "10", "01", "-01", "00", "1.0", "1.", ".5", "-.5", "1.5e3", "1e5", "1E5",
    "1e+5", "1e-5", "1e", "1e+", "1.e5", "1.0e", "0.0", "-0.0", "0e0", "0x10", "1_000", "+1", "-",
    "1" * 40, "-" + "9" * 40, "1" * 40 + ".5", "0." + "3" * 60, "1e400", "-1e400", "1 2", "1,2",
    "\u0661", "1\u0661", "\uff11",
    # White space around and inside.
    " 1", "1 ", "\t1\n", "\r\n1\r\n", "\v1", "\f1", "\xa01", "1\xa0", "\u20281", "\ufeff1", "", " ",
    "\n", "1\x00", "\x001",
    # Strings.
    '""', '"a"', '"', "'a'", '"a', 'a"', '"a"b', '"\\""', '"\\\\"', '"\\/"', '"\\b\\f\\n\\r\\t"',
    '"\\x41"', '"\\a"', '"\\', '"\\"', '"\\u"', '"\\u12"', '"\\u123"', '"\\u1234"', '"\\u12345"',
    '"\\uABCD"', '"\\uabcd"', '"\\U0001F600"', '"\\u12g4"', '"\\u+123"', '"\\u 123"', '"\\u0x12"',
    '"\\ud800"', '"\\udc00"', '"\\ud800\\udc00"', '"\\ud800\\ud800"', '"\\udc00\\ud800"',
    '"\\ud800x"', '"\\ud800\\n"', '"\\ud800\\u0041"', '"\\ud83d\\ude00"', '"\\ud83d\\u"', '"\\ud8"',
    '"\\udbff\\udfff"', '"\\u0000"', '"\x00"', '"\x01"', '"\x1f"', '"\n"', '"\t"', '"\r"', '"\x7f"',
    '"\x80"', '"\x85"', '"\u2028\u2029"', '"é"', '"日本"', '"😀"', '"\ufffe\uffff"', '"\U0010ffff"',
    '"a" "b"', '"/"', "\"'\"", '"\ufeff"',
    # Arrays.
    "[]", "[ ]", "[\n]", "[1]", "[1,2]", "[1, 2 ,3]", "[1,]", "[,1]", "[,]", "[1 2]", "[1", "1]",
    "[", "]", "[]]", "[[]", "[[],[]]", "[[[[[]]]]]", "[1}", "[1;2]", "[null,true,NaN]", '["]"]',
    '["a","b"', "[1,2]x", "[//1]", "[/*1*/]", "[1]#", "()", "(1)", "[1:2]", '["a":1]', "[\u20281]",
    # Objects.
    "{}", "{ }", '{"a":1}', '{"a" : 1}', '{ "a":1 }', '{"a":1,}', '{,"a":1}', '{"a"}', '{"a":}',
    '{:1}', '{a:1}', "{'a':1}", '{1:2}', '{null:1}', '{"a":1 "b":2}', '{"a":1,"b":2}',
    '{"a":1,"a":2}', '{"a":{"b":{}}}', '{"a":[{}]}', '{"a":1', '{"a"', '{"a', "{", "}", "{}{}",
    "{]",
    '{"a":1]', '{"a",1}', '{"a"=1}', '{"":""}', '{"\\ud800":1}', '{"\\u0061":1}', '{"a"::1}',
    '{"a":1,,"b":2}', '{[]:1}', '{"a":NaN,"b":-Infinity}', '{"a":1}\n', '\n{"a":1}', '{"a":1}\x00',
    '{"\n":1}', '{"a":\n1\n,\n"b"\n:\n2\n}', '{"cmd":"set","key":"k","val":1.0}',
    # As deep as everybody allows; what is deeper is another test's.
    "[" * 100 + "]" * 100, '{"a":' * 100 + "1" + "}" * 100, "[" * 100 + "]" * 99,
    "[" * 100 + "]" * 101, '[{"a":' * 50 + "[]" + "}]" * 50, '[{"a":' * 50 + "[]" + "]}" * 50,
]  # fmt: skip

STRINGS = [
    "", "a", "hello", "key", "Hello, world", " ", "0.5", "0.123456789", "1", "True", "None",
    "\"", "\\", "/", "'", "\b\t\n\f\r", "\x00", "\x01\x1f", " ~", "\x7f", "\x80\x9f", "é", "ß",
    "\u07ff\u0800", "\u2028\u2029", "日本語", "\ufeff\ufffd\uffff", "\U00010000", "😀",
    "\U0010ffff",
    "a😀b", "\ud800", "\udfff", "\udc80", "x\udcffy", "\udc00\ud800", "k" * 200, "%41", "<script>",
    "e\u0301", "\u202e", "10.0.0.1:38000",
]  # fmt: skip


def shown(raw: bytes) -> str:
    """`raw` as it stands in a data file."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x25 else f"%{byte:02X}" for byte in raw
    )


def understood(text: str) -> bool:
    """Whether Python's own parser takes `text`."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def broken_variants(chance: random.Random) -> list[str]:
    """Texts that are one cut, one double or one strange character away from a good one."""
    good = '{"a": [1.5e-3, "x\\u00e9\\ud800", {"b": null, "c": [true, -0, NaN]}], "d": "\\\\\\""}'
    cuts = [good[:at] + good[at + 1 :] for at in range(len(good))]
    doubled = [good[:at] + good[at] + good[at:] for at in range(len(good))]
    strange = []
    for _ in range(120):
        at = chance.randrange(len(good))
        strange.append(good[:at] + chance.choice('{}[],:"\\0-1.eE+u n\n\x00') + good[at + 1 :])
    return [good, *cuts, *doubled, *strange]


def write_json_cases() -> None:
    """`ok` or `bad`, a tab, the text."""
    lines = ["# ok|bad <tab> text; written by make_cases.py from what Python's json.loads says"]
    for text in dict.fromkeys(WHOLE + broken_variants(random.Random(7))):
        verdict = "ok" if understood(text) else "bad"
        lines.append(f"{verdict}\t{shown(text.encode())}")
    (FOLDER / "json_cases.txt").write_text("\n".join(lines) + "\n")


def write_string_cases() -> None:
    """The slot, the text in WTF-8 and its JSON, with tabs between."""
    chance = random.Random(11)
    drawn = [str(chance.random()) for _ in range(40)]
    for _ in range(60):
        points = [chance.choice([0x7F, 0x2FF, 0xFFFF, 0x10FFFF]) for _ in range(5)]
        drawn.append("".join(chr(chance.randint(0, point)) for point in points))
    lines = ["# slot <tab> text <tab> its JSON; written by make_cases.py with hashlib and json"]
    for text in dict.fromkeys(STRINGS + drawn):
        # Two halves of a pair side by side are one character to JSON, and two to Python.
        if json.loads(json.dumps(text)) != text:
            continue
        raw = text.encode("utf-8", "surrogatepass")
        slot = int(hashlib.sha1(raw).hexdigest(), 16) % SLOT_COUNT
        lines.append(f"{slot}\t{shown(raw)}\t{json.dumps(text)}")
    (FOLDER / "strings.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_json_cases()
    write_string_cases()
