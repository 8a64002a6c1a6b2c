"""Programs that use `dht` in a process of their own, for what a test must not do in its own."""

from __future__ import annotations

import sys

from harness import run

INTERRUPTED = """
import os, signal, sys, threading, time
import dht

address = sys.argv[1]
client = dht.Client(address, address, timeout=30)

def took(call):
    sent = []
    def press():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(0.15, press)
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return time.monotonic() - sent[0]
    raise SystemExit("the call ended by itself")

def busy():
    while True:
        pass

if {busy}:
    threading.Thread(target=busy, daemon=True).start()
print(min(took(lambda: {call}) for _ in range(3)), flush=True)
os._exit(0)
"""


def seconds_to_interrupt(call: str, address: str, *, busy: bool = False) -> float:
    """How long `call` goes on after Ctrl-C: the best of three, as the machine may be slow."""
    return float(python(INTERRUPTED.format(call=call, busy=busy), address))


def python(code: str, *args: str) -> str:
    """Runs a program to its end; it must exit 0 and say nothing on standard error."""
    done = run([sys.executable, "-c", code, *args], seconds=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
