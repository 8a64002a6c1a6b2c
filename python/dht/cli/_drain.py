"""`dht drain`: a server hands over what it holds, and leaves."""

import argparse
import json
import time
from typing import Any

from dht import _dht
from dht.cli import _options, _output

HELP = "let a server hand over what it holds, leave the ring and end; wait until it has"

OPTIONS = [
    _options.VIEWLEADER,
    _options.Option(
        "--timeout",
        "DHT_DRAIN_TIMEOUT",
        _options.seconds,
        60_000,
        "SECONDS",
        "how long to wait; the server goes on leaving after that",
        "60",
    ),
]

POLL_S = 0.1
LIST = "`dht status`"
ASK_TIMEOUT_MS = 2_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is no option."""
    parser.add_argument("address", metavar="ADDR", type=_options.host, help="the server, HOST:PORT")


def run(args: argparse.Namespace) -> int:
    """Return the exit status: 0 where the server has left."""
    if ":" not in args.address:
        raise ValueError(f"{args.address!r} names no port; give HOST:PORT as {LIST} lists it")
    native = _dht.Client(viewleader=args.viewleader, server=args.address, timeout_ms=ASK_TIMEOUT_MS)
    try:
        return _drain(native, args)
    finally:
        native.close()


def _drain(native: _dht.Client, args: argparse.Namespace) -> int:
    deadline = time.monotonic() + args.timeout / 1000
    asked = _ask(native.call_server, "dht_leave")
    if "error" in asked:
        why = str(asked["error"])
        advice = f"; name a server that runs, as {LIST} lists it"
        raise ConnectionError(why + advice if why.startswith("can't connect") else why)
    identity = asked["id"]
    _output.out([f"{args.address} hands over what it holds"])
    while _is_there(native, identity):
        if time.monotonic() >= deadline:
            seconds = args.timeout / 1000
            raise TimeoutError(
                f"{args.address} has not left after {seconds:g} s and goes on trying; `dht status` "
                "shows what it waits for"
            )
        time.sleep(POLL_S)
    view = _ask(native.call_viewleader, "dht_status")
    members = view["dht"]["members"] if "dht" in view else []
    if any(member["id"] == identity for member in members):
        raise ConnectionError(f"{args.address} has ended before it had left; see its output")
    _output.out([f"{args.address} has left"])
    if "dht" in view and not members:
        _output.err(
            [
                f"dht drain: {args.address} was the last server: nobody else has what it held, and"
                " only a --data-dir keeps it"
            ]
        )
    return 0


def _is_there(native: _dht.Client, identity: str) -> bool:
    """Whether the process still runs; one that does not answer in time may."""
    try:
        said = json.loads(native.call_server('{"cmd": "dht_hello", "dht": 1}'))
    except (_dht.DhtError, OSError):
        return True
    if "error" in said:
        return not str(said["error"]).startswith("can't connect")
    known = said.get("dht", {})
    return identity == known.get("id") or identity in known.get("was", [])


def _ask(call: Any, command: str) -> dict[str, Any]:
    try:
        reply: dict[str, Any] = json.loads(call(json.dumps({"cmd": command, "dht": 1})))
    except (_dht.DhtError, OSError) as error:
        return {"error": str(error)}
    return reply
