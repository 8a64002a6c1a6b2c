"""Stand-in of the original client: one command, its dialogue, its printed reply."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Any

from originals.protocol import Message, ask, hash_number

LOCK_WAIT_SECONDS = 0.2
COMMANDS = {
    "print": ["text"],
    "set": ["key", "val"],
    "get": ["key"],
    "query_all_keys": [],
    "lock_get": ["lockid", "requestor"],
    "lock_release": ["lockid", "requestor"],
    "query_servers": [],
    "setr": ["key", "val"],
    "getr": ["key"],
}
TO_SERVER = {"print", "set", "get", "query_all_keys"}


class Failed(Exception):
    """A dialogue that did not end well; the original died of a traceback here."""


def replicas(view: Message, key: str) -> list[str]:
    """The three servers of a key, first to last."""
    ring = [(place, address) for address, place in view["result"]]
    below = [index for index, (place, _) in enumerate(ring) if place < hash_number(key)]
    first = below[-1] if below else len(ring) - 1
    return [ring[(first + step) % len(ring)][1] for step in range(min(3, len(ring)))]


def setr(viewleader: str, arguments: Message) -> None:
    """Writes a key in two phases: all must vote for it under one epoch."""
    key, value = arguments["key"], arguments["val"]
    print(f"Trying to setr {key} to {value}")
    view = ask(viewleader, {**arguments, "cmd": "query_servers"})
    if "error" in view:
        raise Failed(view["error"])
    servers = replicas(view, key)
    votes = [ask(server, {**arguments, "cmd": "setr_request"}) for server in servers]
    refused = next((vote for vote in votes if vote.get("reply") != "ok"), None)
    if refused or any(vote["epoch"] != view["epoch"] for vote in votes) or not servers:
        for server in servers:
            ask(server, {**arguments, "cmd": "setr_deny"})
        said_no = refused is not None and refused.get("reply") == "no"
        raise Failed("key already being set" if said_no else "server with wrong epoch")
    for server in servers:
        reply = ask(server, {**arguments, "cmd": "setr"})
        if "error" in reply:
            raise Failed(reply["error"])
        print(f"set {key} to {value}")


def getr(viewleader: str, arguments: Message) -> Message:
    """Reads a key from the first of its servers that answers."""
    view = ask(viewleader, {**arguments, "cmd": "query_servers"})
    if "error" in view:
        raise Failed(view["error"])
    for server in replicas(view, arguments["key"]):
        reply = ask(server, {**arguments, "cmd": "get"})
        if "error" not in reply:
            return reply
    return {"status": f"unable to retrieve {arguments['key']} from any server"}


def lock_get(viewleader: str, arguments: Message) -> Message:
    """Asks for a lock until it is granted."""
    while True:
        reply = ask(viewleader, arguments)
        if reply.get("status") != "retry":
            return reply
        print(f"Waiting on lock {arguments['lockid']}...", flush=True)
        threading.Event().wait(LOCK_WAIT_SECONDS)


def run(server: str, viewleader: str, arguments: Message) -> None:
    """Does one command and prints what the original prints."""
    command: Any = arguments["cmd"]
    if command == "setr":
        setr(viewleader, arguments)
    elif command == "getr":
        print(getr(viewleader, arguments))
    elif command == "lock_get":
        print(lock_get(viewleader, arguments))
    else:
        print(ask(server if command in TO_SERVER else viewleader, arguments))


def main() -> None:
    """Reads the command line; sends its whole argument set with every request, as the original."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="localhost:38000")
    parser.add_argument("--viewleader", default="localhost:39000")
    commands = parser.add_subparsers(dest="cmd", required=True)
    for name, fields in COMMANDS.items():
        command = commands.add_parser(name)
        for field in fields:
            command.add_argument(field, nargs="+" if field == "text" else None)
    args = parser.parse_args()
    try:
        run(args.server, args.viewleader, vars(args))
    except Failed as failed:
        print(failed)
        sys.exit(1)


if __name__ == "__main__":
    main()
