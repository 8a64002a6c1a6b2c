"""`viewleader.py`: keeps the view of the ring, its locks, and where every key belongs."""

from collections.abc import Sequence

from dht import _dht
from dht.cli import _node, _options, _output, _parser
from dht.common2 import LOCK_LEASE, VIEWLEADER_HIGH, VIEWLEADER_LOW

PROG = "viewleader.py"

OPTIONS = [
    *_options.listening(VIEWLEADER_LOW, VIEWLEADER_HIGH),
    _options.Option(
        "--advertise",
        "DHT_ADVERTISE",
        str,
        None,
        "HOST",
        "the host by which others reach servers that run on this machine",
        "this machine's address as each asker sees it",
    ),
    _options.Option(
        "--lease",
        "DHT_LEASE",
        _options.seconds,
        LOCK_LEASE * 1000,
        "SECONDS",
        "how long a server is believed alive after its last heartbeat",
        str(LOCK_LEASE),
    ),
    _options.Option(
        "--give-up-after",
        "DHT_GIVE_UP_AFTER",
        _options.seconds,
        None,
        "SECONDS",
        "how long to wait for the last holders of a key that stay silent before its range"
        " starts again empty",
        "for ever",
    ),
    _options.data_dir("its record", "no record: a restarted view leader asks its servers"),
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
        PROG, "Run the view leader of a distributed hash table until Ctrl-C or SIGTERM.", OPTIONS
    )
    args = _parser.finish(parser, parser.parse_args(argv), OPTIONS)

    def start(port: int) -> _dht.Node:
        return _dht.Node.viewleader(
            bind=args.bind,
            port=port,
            advertise=args.advertise,
            lease_ms=args.lease,
            give_up_after_ms=args.give_up_after,
            message_bytes_max=args.max_message_size,
            quiet=args.quiet,
            data_dir=args.data_dir,
            fsync=args.fsync,
        )

    ports = range(VIEWLEADER_LOW, VIEWLEADER_HIGH)
    return _node.run(PROG, start, ports, args.port, quiet=args.quiet)
