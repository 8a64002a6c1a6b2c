"""`server.py`: stores keys and values, its own and its part of the ring's."""

from collections.abc import Sequence

from dht import _dht
from dht._limits import TRANSFER_BYTES_PER_S
from dht.cli import _node, _options, _output, _parser
from dht.common2 import SERVER_HIGH, SERVER_LOW

PROG = "server.py"

OPTIONS = [
    _options.VIEWLEADER,
    *_options.listening(SERVER_LOW, SERVER_HIGH),
    _options.Option(
        "--advertise",
        "DHT_ADVERTISE",
        _options.host,
        None,
        "HOST",
        "the HOST or HOST:PORT by which others reach this server",
        "as the view leader sees it",
    ),
    _options.Option(
        "--heartbeat",
        "DHT_HEARTBEAT",
        _options.seconds,
        10_000,
        "SECONDS",
        "how often to renew the lease; keep it well below the view leader's --lease",
        "10",
    ),
    _options.Option(
        "--drain-timeout",
        "DHT_DRAIN_TIMEOUT",
        _options.seconds,
        60_000,
        "SECONDS",
        "how long SIGTERM lets this server hand over what it holds before it ends all the same",
        "60",
    ),
    _options.Option(
        "--transfer-rate",
        "DHT_TRANSFER_RATE",
        _options.bytes_per_s,
        TRANSFER_BYTES_PER_S,
        "BYTES",
        "how many bytes a second it gives to servers that join, to all of them together, while"
        " clients ask it for something; as many as it can at other times, of what has one copy"
        " left, and where it takes over from another; 0: always as many as it can",
    ),
    _options.data_dir("what it holds", "none: its data end with it"),
    _options.FSYNC,
    _options.MESSAGE_SIZE,
    _options.QUIET,
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The exit status.
    """
    return _output.guarded(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser.parser(
        PROG, "Run a storage server of a distributed hash table until Ctrl-C or SIGTERM.", OPTIONS
    )
    args = _parser.finish(parser, parser.parse_args(argv), OPTIONS)

    _dht.use_large_pages()

    def start(port: int) -> _dht.Node:
        return _dht.Node.server(
            viewleader=args.viewleader,
            bind=args.bind,
            port=port,
            advertise=args.advertise,
            heartbeat_ms=args.heartbeat,
            transfer_bytes_per_s=args.transfer_rate,
            message_bytes_max=args.max_message_size,
            quiet=args.quiet,
            data_dir=args.data_dir,
            fsync=args.fsync,
        )

    ports = range(SERVER_LOW, SERVER_HIGH)
    drain_s = args.drain_timeout / 1000
    return _node.run(PROG, start, ports, args.port, quiet=args.quiet, drain_s=drain_s)
