"""A server as a process of its own that leaves the ring when it is sent SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys

import dht

LEAVE_SECONDS = 60.0


def main() -> int:
    """Runs until SIGTERM, and then until others have everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewleader", required=True)
    parser.add_argument("--advertise", required=True)
    parser.add_argument("--heartbeat", type=float, required=True)
    args = parser.parse_args()
    # Blocked before the node's thread begins, so that it waits for `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = dht.Server(
        args.viewleader,
        bind="127.0.0.1",
        advertise=args.advertise,
        heartbeat=args.heartbeat,
        join_timeout=0,
    )
    with server:
        print(f"Listening on {server.address}", flush=True)
        signal.sigwait({signal.SIGTERM})
        server.leave(LEAVE_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
