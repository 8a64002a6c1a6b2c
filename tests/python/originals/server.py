"""Stand-in of the original server: a dict, a list of votes, a heartbeat."""

from __future__ import annotations

import argparse
import random
from typing import Any

from originals.protocol import Message, ask, serve


class Server:
    """The state of one server and its answers."""

    def __init__(self, viewleader: str) -> None:
        """Makes an empty server that will report to `viewleader`."""
        self.viewleader = viewleader
        self.requestor = random.random()
        self.port = 0
        self.epoch = 0
        self.values: dict[str, Any] = {}
        self.votes: list[tuple[str, str]] = []

    def heartbeat(self) -> None:
        """Reports to the view leader and learns the epoch."""
        message = {"cmd": "heartbeat", "port": self.port, "requestor": self.requestor}
        reply = ask(self.viewleader, message)
        if reply.get("status") == "ok":
            self.epoch = reply["epoch"]
        elif "error" in reply:
            print(f"Can't update lease: {reply['error']}", flush=True)
        else:
            print(f"Can't renew lease: {reply['status']}", flush=True)

    def handle(self, message: Message, peer: str) -> Message:
        """Answers one request."""
        match message["cmd"]:
            case "init":
                self.port = message["port"]
                return {}
            case "timeout":
                return {}
            case "print":
                print("Printing " + " ".join(message["text"]), flush=True)
                return {"status": "ok"}
            case "set":
                self.store(message["key"], message["val"])
                return {"status": "ok"}
            case "get":
                return self.get(message["key"])
            case "query_all_keys":
                print("Returning all keys", flush=True)
                return {"result": list(self.values)}
            case "setr_request":
                return self.vote(message["key"], peer)
            case "setr":
                self.forget(message["key"], peer)
                self.store(message["key"], message["val"])
                return {}
            case "setr_deny":
                self.forget(message["key"], peer)
                return {}
        raise KeyError(message["cmd"])

    def store(self, key: str, value: object) -> None:
        """Keeps a value."""
        print(f"Setting key {key} to {value} in local store", flush=True)
        self.values[key] = value

    def get(self, key: str) -> Message:
        """Gives a value back."""
        if key not in self.values:
            print(f"Stored value of key {key} not found", flush=True)
            return {"status": "not_found"}
        print(f"Querying stored value of {key}", flush=True)
        return {"status": "ok", "value": self.values[key]}

    def vote(self, key: str, peer: str) -> Message:
        """Promises a key to one writer at a time."""
        if any(voted == key for voted, _ in self.votes):
            return {"reply": "no"}
        self.votes.append((key, peer))
        return {"reply": "ok", "epoch": self.epoch}

    def forget(self, key: str, peer: str) -> None:
        """Takes the promise to this writer back."""
        if (key, peer) in self.votes:
            self.votes.remove((key, peer))


def main() -> None:
    """Runs the server until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--viewleader", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--heartbeat", type=float, default=10.0)
    args = parser.parse_args()
    server = Server(args.viewleader)
    serve(args.port, server.handle, server.heartbeat, args.heartbeat)


if __name__ == "__main__":
    main()
