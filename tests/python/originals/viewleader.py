"""Stand-in of the original view leader: leases, an epoch, locks."""

from __future__ import annotations

import argparse
import time

from originals.protocol import Message, hash_number, serve


class ViewLeader:
    """The tables of one view leader and its answers."""

    def __init__(self, lease: float) -> None:
        """Makes a view leader without servers; a lease lasts `lease` seconds."""
        self.lease = lease
        self.epoch = 0
        self.members: dict[str, tuple[float, float]] = {}
        self.denied: set[float] = set()
        self.locks: dict[str, list[str]] = {}

    def handle(self, message: Message, peer: str) -> Message:
        """Answers one request."""
        self.sweep()
        match message["cmd"]:
            case "init" | "timeout":
                return {}
            case "heartbeat":
                return self.heartbeat(f"{peer}:{message['port']}", message["requestor"])
            case "query_servers":
                view = [[addr, hash_number(str(who))] for addr, (who, _) in self.members.items()]
                return {"result": sorted(view, key=lambda pair: pair[1]), "epoch": self.epoch}
            case "lock_get":
                queue = self.locks.setdefault(message["lockid"], [])
                if message["requestor"] not in queue:
                    queue.append(message["requestor"])
                granted = queue[0] == message["requestor"]
                return {"status": "granted" if granted else "retry"}
            case "lock_release":
                queue = self.locks.get(message["lockid"], [])
                if message["requestor"] not in queue:
                    return {"status": "unknown"}
                queue.remove(message["requestor"])
                return {"status": "ok"}
        raise KeyError(message["cmd"])

    def heartbeat(self, address: str, requestor: float) -> Message:
        """Renews or begins a lease."""
        if requestor in self.denied:
            return {"status": "deny"}
        holder = self.members.get(address)
        if holder and holder[0] != requestor:
            return {"status": "retry", "epoch": self.epoch}
        self.members[address] = (requestor, time.monotonic() + self.lease)
        if not holder:
            self.epoch += 1
        return {"status": "ok", "epoch": self.epoch}

    def sweep(self) -> None:
        """Removes the servers whose lease has run out."""
        now = time.monotonic()
        expired = [addr for addr, (_, until) in self.members.items() if until < now]
        for address in expired:
            self.denied.add(self.members.pop(address)[0])
        if expired:
            self.epoch += 1


def main() -> None:
    """Runs the view leader until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lease", type=float, default=30.0)
    args = parser.parse_args()
    leader = ViewLeader(args.lease)
    serve(args.port, leader.handle, lambda: None, 1.0)


if __name__ == "__main__":
    main()
