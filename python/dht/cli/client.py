"""`client.py`: one command to a server, to the view leader, or to the ring; one line of reply."""

from __future__ import annotations

import sys
import time

from dht import _dht
from dht._environment import py2_wanted
from dht._json import loads, quote
from dht.cli import _options, _output, _quick

TYPE_CHECKING = False
if TYPE_CHECKING:  # a command loads what it needs, and no more
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any

PROG = "client.py"

OPTIONS = [
    _options.Option(
        "--server",
        "DHT_SERVER",
        _options.host,
        "localhost",
        "HOST",
        "the server for print, set, get and query_all_keys: HOST, whose ports 38000 to 38009 are"
        " tried in order, or HOST:PORT",
    ),
    _options.VIEWLEADER,
    _options.Option(
        "--timeout",
        "DHT_TIMEOUT",
        _options.seconds,
        5_000,
        "SECONDS",
        "how long one request may take",
        "5",
    ),
    _options.Option(
        "--fail",
        "DHT_FAIL",
        _options.switch,
        False,
        None,
        "exit with status 1 also where a reply was printed that has an `error`, or a status other"
        " than `ok` and `granted`, such as `not_found`; without it only setr and getr that fail do",
    ),
    _options.MESSAGE_SIZE,
]

COMMANDS = {
    "print": (["text"], "let the server print words"),
    "set": (["key", "val"], "store a value on the server alone"),
    "get": (["key"], "read what the server holds under a name"),
    "query_all_keys": ([], "list every name that the server holds"),
    "lock_get": (["lockid", "requestor"], "take a lock; wait while another holds it"),
    "lock_release": (["lockid", "requestor"], "give a lock, or the place in its queue, back"),
    "query_servers": ([], "list the servers and their ring positions"),
    "setr": (["key", "val"], "store a value on the three servers of its name"),
    "getr": (["key"], "read the last acknowledged value of a name"),
}

METAVARS = {
    "text": "WORD",
    "key": "NAME",
    "val": "VALUE",
    "lockid": "LOCK",
    "requestor": "CLIENT",
}

SEVERAL = "text"
"""The argument that stands for any number of words."""

LOCK_RETRY_S = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The exit status.
    """
    return _output.guarded(lambda: _run(argv))


def _parser() -> argparse.ArgumentParser:
    from dht.cli import _parser as argparsing

    parser = argparsing.parser(PROG, "Speak to a distributed hash table.", OPTIONS)
    commands = parser.add_subparsers(dest="cmd", metavar="COMMAND", required=True)
    for name, (arguments, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        for argument in arguments:
            count = "*" if argument == SEVERAL else None
            command.add_argument(argument, metavar=METAVARS[argument], nargs=count)
    return parser


def _parsed(words: Sequence[str]) -> Any:
    """Return the values of all options and arguments, or end the program."""
    args = _quick.read(words, OPTIONS, COMMANDS, SEVERAL)
    if args is not None:
        return args
    from dht.cli import _parser as argparsing

    parser = _parser()
    return argparsing.finish(parser, parser.parse_args(words), OPTIONS)


def _run(argv: Sequence[str] | None) -> int:
    args = _parsed(sys.argv[1:] if argv is None else argv)
    try:
        native = _dht.Client(
            viewleader=args.viewleader,
            server=args.server,
            timeout_ms=args.timeout,
            message_bytes_max=args.max_message_size,
        )
    except ValueError as error:
        _parser().error(str(error))
    command = _Command(native, args)
    try:
        return command.run()
    finally:
        native.close()


class _Command:
    """One command, from its request to its exit status."""

    def __init__(self, native: _dht.Client, args: Any) -> None:
        self.native = native
        self.args = args
        self.py2 = py2_wanted()

    def run(self) -> int:
        name: str = self.args.cmd
        if name == "setr":
            return self.setr(self.args.key, self.args.val)
        if name == "getr":
            return self.getr(self.args.key)
        fields = {"cmd": name} | {field: getattr(self.args, field) for field in COMMANDS[name][0]}
        request = _request(fields)
        if name in ("lock_get", "lock_release", "query_servers"):
            return self.ask(self.native.call_viewleader, self.args.viewleader, request)
        return self.ask(self.native.call_server, self.args.server, request)

    def ask(self, call: Callable[[str], str], host: str, request: str) -> int:
        """Send a request, again while the reply is `retry`, and print the reply."""
        while True:
            try:
                reply = loads(call(request))
            except (ConnectionError, _dht.OutcomeUnknown):
                reply = {"error": f"can't connect to {host}"}
            except (_dht.DhtError, ValueError) as error:
                reply = {"error": _options.in_options(str(error))}
            if reply.get("status") != "retry":
                # The view leader and the servers never send an `error` alone to a reply that
                # reaches this point: the client has made it.
                return self.print_reply(reply, native=set(reply) == {"error"})
            if not _output.out([f"Waiting on lock {self.args.lockid}..."]):
                return 1
            time.sleep(LOCK_RETRY_S)

    def setr(self, key: str, value: str) -> int:
        _output.out([f"Trying to setr {key} to {value}"])
        try:
            servers = self.native.setr(quote(key), quote(value))
        except (_dht.Busy, _dht.WrongEpoch) as error:
            busy = isinstance(error, _dht.Busy)
            _output.out(["key already being set" if busy else "server with wrong epoch"])
            return 1
        except (_dht.DhtError, OSError) as error:
            return _fail(error)
        return 0 if _output.out([f"set {key} to {value}"] * len(servers)) else 1

    def getr(self, key: str) -> int:
        try:
            text = self.native.getr(quote(key))
        except (_dht.NoViewLeader, _dht.NoServers, _dht.MessageTooLarge) as error:
            return _fail(error)
        except (_dht.DhtError, OSError) as error:
            self.print_reply({"status": f"unable to retrieve {key} from any server"}, native=True)
            return _fail(error)
        if text is None:
            return self.print_reply({"status": "not_found"})
        return self.print_reply({"status": "ok", "value": loads(text)})

    def print_reply(self, reply: dict[str, Any], *, native: bool = False) -> int:
        """Print a reply and return the exit status that it stands for."""
        if not _output.out([self.shown(reply, native=native)]):
            return 1
        good = "error" not in reply and reply.get("status", "ok") in ("ok", "granted")
        return 1 if self.args.fail and not good else 0

    def shown(self, reply: dict[str, Any], *, native: bool) -> str:
        if not self.py2:
            return repr(reply)
        from dht.pyrepr import show

        return show(reply, py2=True, native=native)


def _request(fields: dict[str, str | list[str]]) -> str:
    """Return a request as `json.dumps` writes it."""
    texts = {
        name: quote(value) if isinstance(value, str) else f"[{', '.join(map(quote, value))}]"
        for name, value in fields.items()
    }
    return f"{{{', '.join(f'{quote(name)}: {text}' for name, text in texts.items())}}}"


def _fail(error: Exception) -> int:
    """Print what is wrong on one line of standard error; return the exit status."""
    text = _options.in_options(" ".join(str(error).split())) or type(error).__name__
    _output.err([f"{PROG}: error: {text}"])
    return 1
