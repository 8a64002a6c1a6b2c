"""The native module: the ring's arithmetic, nodes, two clients, and a checker of histories.

Every JSON text is a `str` of ASCII characters. Calls that wait for others release the GIL and give
Ctrl-C a chance every 50 ms; objects may be used from several threads at once.
"""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any, Final, final

from dht.errors import (
    Busy,
    DhtError,
    MessageTooLarge,
    NoServers,
    NotDone,
    NoViewLeader,
    OutcomeUnknown,
    WrongEpoch,
)

__all__ = [
    "BrokenRule",
    "Busy",
    "Client",
    "DhtError",
    "Listener",
    "MessageTooLarge",
    "NoServers",
    "NoViewLeader",
    "Node",
    "NotDone",
    "OutcomeUnknown",
    "Pipeline",
    "Ring",
    "SimCluster",
    "WrongEpoch",
    "__version__",
    "build_profile",
    "check_data",
    "end_calls",
    "end_waits",
    "export_data",
    "hash_key",
    "judge_history",
    "read_json",
    "read_pair",
    "stay_at_end",
    "use_large_pages",
]

__version__: Final[str]
build_profile: Final[str]

class BrokenRule(AssertionError):
    """A simulated ring did what no ring may do: a bug of `dht`. The text has the trace's end."""

def hash_key(name: str) -> int:
    """Return the ring position of a name.

    Args:
        name: Any string, lone surrogates included.

    Returns:
        The slot, from 0 to 9999.

    Example:
        >>> hash_key("apple")
        6784
    """

def check_data(path: str | PathLike[str]) -> dict[str, Any]:
    """Say what is in the directory of a server or a view leader, and change nothing there.

    Every page and every row is checked. The GIL is released meanwhile.

    Args:
        path: The directory.

    Returns:
        Facts: always `role`, `"server"` or `"view leader"`, and the `version` of its format and
        the `epoch`. Of a server also `identity`, `earlier_identities`, `ranges` (triples of first
        slot, the slot after the last, and revision), `keys`, `key_bytes`, `locals`, `local_bytes`
        and `requests`; of a view leader `members`, `denied`, `locks` and `ranges`, how many.

    Raises:
        OSError: It is in use, damaged, of a newer version, or cannot be read; the text says which.
    """

def export_data(
    path: str | PathLike[str], write: Callable[[str], object], *, local: bool = False
) -> None:
    """Give the pairs in the directory of a server to `write`, and change nothing there.

    Args:
        path: The directory.
        write: Is given text of up to a thousand lines, `{"name": NAME, "value": VALUE}` each.
        local: Whether the values that are the server's own are wanted, not the replicated ones.

    Raises:
        OSError: As `check_data`, or it belongs to a view leader. What comes before damage may have
            been given to `write`.
    """

def read_json(text: str) -> Any:
    """Return what `json.loads` gives of a JSON text, for less time, and without the import.

    Args:
        text: JSON as Python knows it, `NaN` and the infinities included.

    Returns:
        `None`, a bool, a number, a string, or a list or dict of such; an integer of more than 4,000
        digits as `dht._json.Digits`.

    Raises:
        ValueError: It is no JSON, or nested more than 900 levels deep.

    Example:
        >>> read_json('{"colours": ["red", 1.0]}')
        {'colours': ['red', 1.0]}
    """

def read_pair(line: str) -> tuple[str, str]:
    """Return name and value, as JSON, of a line as `export_data` writes them.

    Raises:
        ValueError: It is no such line.
    """

def use_large_pages() -> None:
    """Have the heap of this process grow in pages of 2 MiB, where the system can do that.

    For a process that is a server and nothing else, before a node is started: what is freed stays
    with the process.
    """

def end_calls() -> None:
    """Say that this thread is about to end the interpreter: clients' calls come back to no other.

    A thread that is in one, or makes one, stays there.
    """

def stay_at_end() -> None:
    """Keep this thread where it is, once another one ends the interpreter; else do nothing."""

def end_waits(timeout_ms: int) -> bool:
    """Say that the interpreter is about to end: nobody waits for a node any more.

    A thread that comes back to the interpreter while that ends can take the process down.

    Args:
        timeout_ms: How long to wait until all have come back, in ms.

    Returns:
        Whether all have.
    """

@final
class Ring:
    """The servers of a ring with their positions. It never changes."""

    def __new__(cls, servers: Iterable[Sequence[str | int]]) -> Ring:
        """Create a ring.

        Args:
            servers: Pairs of address and position, in any order.

        Raises:
            ValueError: A position is not in 0 to 9999, or an address is listed twice.
            TypeError: An item is no such pair.
        """

    def servers(self) -> list[tuple[str, int]]:
        """Return address and position of every server, by position, then by address."""

    def replicas(self, name: str) -> list[str]:
        """Return who holds a name, primary first.

        Args:
            name: Any string, lone surrogates included.

        Returns:
            The addresses of its three servers; of all where there are fewer.
        """

    def replicas_at(self, slot: int) -> list[str]:
        """Return who holds a slot, primary first.

        Args:
            slot: From 0 to 9999.

        Returns:
            As `replicas`.

        Raises:
            ValueError: The slot is out of range.

        Example:
            >>> Ring([("a:1", 10), ("b:1", 20), ("c:1", 30), ("d:1", 40)]).replicas_at(25)
            ['b:1', 'c:1', 'd:1']
        """

    def replicas_many(self, names: Iterable[str]) -> list[list[str]]:
        """Return who holds each of many names. The GIL is released meanwhile.

        Args:
            names: Any strings.

        Returns:
            For each name in its order, what `replicas` returns.

        Raises:
            TypeError: `names` is one `str`, or holds something else.
        """

    def slots(self, address: str, primary: bool) -> list[tuple[int, int]]:
        """Return which slots a server holds.

        Args:
            address: The server's address.
            primary: Whether only those count that it comes first for.

        Returns:
            First slot, and one past the last, of each range, ascending; none for a stranger.
        """

    def copies(self, other: Ring, names: Iterable[str]) -> list[tuple[int, str | None, str]]:
        """Return which copies a change to another ring makes. The GIL is released meanwhile.

        Args:
            other: The ring after the change.
            names: The names that are stored.

        Returns:
            The name's place in `names`, who gives the copy (`None` where nobody has it), and who
            gets it.

        Raises:
            TypeError: `names` is one `str`, or holds something else.
        """

    def transfers(self, other: Ring, lost: list[str]) -> list[tuple[int, int, str | None, str]]:
        """Return which copies a change to another ring makes, as ranges of slots.

        Args:
            other: The ring after the change.
            lost: The addresses of servers that give nothing.

        Returns:
            First slot, and one past the last, who gives the copies (`None` where nobody has them),
            and who gets them; by the first slot.
        """

def judge_history(lines: str, steps_max: int = 2000000) -> tuple[int, str, str]:
    """Decide whether a history is linearizable; `dht.testing` tells what a history is.

    The GIL is released during the search, which no signal ends: that waits for the verdict.

    Args:
        lines: The history, one JSON object a line.
        steps_max: How long to search for each key, in operations put in their place.

    Returns:
        How many operations the history has; `linearizable`, `violation` or `undecided`; and the
        reason for a reader, empty for `linearizable`.

    Raises:
        ValueError: A line is no event, or cannot follow those before it.
    """

@final
class Node:
    """A running view leader or server on a thread of its own."""

    @staticmethod
    def viewleader(
        *,
        bind: str = ...,
        port: int = 0,
        advertise: str | None = None,
        lease_ms: int = 30000,
        listen_ms: int = 400,
        give_up_after_ms: int | None = None,
        message_bytes_max: int = ...,
        quiet: bool = False,
        data_dir: str | PathLike[str] | None = None,
        fsync: str = "always",
    ) -> Node:
        """Start a view leader.

        Args:
            bind: The local address to listen on; empty, the default, for all interfaces.
            port: The port; 0 takes any free one.
            advertise: The host by which others reach servers on the leader's own host.
            lease_ms: How long a server is believed alive after its last heartbeat, in ms.
            listen_ms: How long it listens after its start before it takes its ring for a new one,
                in ms; 0 for one that is certainly new.
            give_up_after_ms: After how many ms a range whose holders stay silent starts again
                empty; `None` for never.
            message_bytes_max: The longest message that is accepted or sent, in bytes; 16 MiB by
                default.
            quiet: Whether notes about single requests are left out.
            data_dir: The directory of its record, which is made where there is none; `None`: it
                keeps no record.
            fsync: When the record is synced to the disk: `always`, before anybody is told of it;
                `interval:MS`, so many ms later at most; or `never`.

        Returns:
            The node, listening.

        Raises:
            OSError: The port cannot be bound, or the directory is in use, cannot be read or cannot
                be written.
            ValueError: `fsync` is none of these.
        """

    @staticmethod
    def server(
        *,
        viewleader: str = ...,
        bind: str = ...,
        port: int = 0,
        advertise: str | None = None,
        heartbeat_ms: int = 10000,
        transfer_bytes_per_s: int = ...,
        message_bytes_max: int = ...,
        quiet: bool = False,
        data_dir: str | PathLike[str] | None = None,
        fsync: str = "always",
    ) -> Node:
        """Start a storage server.

        Args:
            viewleader: `HOST`, whose ports 39000 to 39009 are tried in order, or `HOST:PORT`;
                `localhost` by default.
            bind: The local address to listen on; empty, the default, for all interfaces.
            port: The port; 0 takes any free one.
            advertise: The `HOST` or `HOST:PORT` by which others reach this server.
            heartbeat_ms: How often the lease is renewed, in ms.
            transfer_bytes_per_s: How many bytes a second are given to servers that join, while
                clients ask for something; 16 MiB by default, 0 for no bound.
            message_bytes_max: The longest message that is accepted or sent, in bytes; 16 MiB by
                default.
            quiet: Whether notes about single requests are left out.
            data_dir: The directory of its data, which is made where there is none; `None`: they
                end with it.
            fsync: When its data are synced to the disk: `always`, before anybody is told of them;
                `interval:MS`, so many ms later at most; or `never`.

        Returns:
            The node, listening.

        Raises:
            OSError: The port cannot be bound, or the directory is in use, cannot be read or cannot
                be written.
            ValueError: `fsync` is none of these.
        """

    @property
    def port(self) -> int:
        """The port that the node listens on."""

    @property
    def address(self) -> str:
        """`HOST:PORT` by which this machine reaches the node."""

    def notes(self, timeout_ms: int) -> list[tuple[str, str]] | None:
        """Wait for facts that a person may want to know.

        Args:
            timeout_ms: How long to wait for the first one, in ms.

        Returns:
            Pairs of a kind and a JSON object, oldest first; empty where the time has passed;
            `None` once the node has stopped and every note was taken.

        Raises:
            RuntimeError: The node's thread has failed.
        """

    def listen(self) -> Listener:
        """Return a reader of its own: it takes every note from now on, whatever others take.

        Raises:
            RuntimeError: This is a forked child.
        """

    def leave(self, timeout_ms: int) -> bool:
        """Ask a server to leave the ring, and wait until its data are with others and it has ended.

        Args:
            timeout_ms: How long to wait, in milliseconds.

        Returns:
            Whether it has ended. Where not, it goes on leaving.
        """

    def pause(self) -> None:
        """Have the node stand still, as `kill -STOP` would, and wait until it does.

        It neither reads, writes nor notices that time passes; its connections stay open.
        """

    def resume(self) -> None:
        """Let a node go on that stands still. At any other time it does nothing."""

    def stop(self) -> None:
        """Stop the node and wait for its thread. Stopping again does nothing."""

@final
class Listener:
    """Takes the notes of a node. It does not keep the node running."""

    def take(self, timeout_ms: int) -> list[tuple[str, str]] | None:
        """Wait for notes.

        Args:
            timeout_ms: How long to wait for the first one, in ms.

        Returns:
            Pairs of a kind and a JSON object, oldest first; empty where the time has passed;
            `None` once the node has stopped, or `close` was called, and every note was taken.

        Raises:
            RuntimeError: The node's thread has failed, or this is a forked child.
        """

    @property
    def missed(self) -> int:
        """How many notes were dropped because too many waited to be taken."""

    def close(self) -> None:
        """Take no further notes in; whoever waits in `take` goes on. Closing again does nothing.

        Raises:
            RuntimeError: This is a forked child.
        """

@final
class Client:
    """Speaks to a ring, and waits for the answers."""

    def __new__(
        cls,
        viewleader: str = ...,
        server: str = ...,
        timeout_ms: int = 5000,
        message_bytes_max: int = ...,
    ) -> Client:
        """Create a client; nothing is sent yet.

        Args:
            viewleader: `HOST`, whose ports 39000 to 39009 are tried in order, or `HOST:PORT`;
                `localhost` by default.
            server: `HOST`, whose ports 38000 to 38009 are tried in order, or `HOST:PORT`;
                `localhost` by default.
            timeout_ms: How long one call may take, in ms.
            message_bytes_max: The longest message that is accepted or sent, in bytes; 16 MiB by
                default.
        """

    def call_server(self, request: str) -> str:
        """Send a request to the server and wait for the reply.

        Args:
            request: A JSON object.

        Returns:
            The reply, a JSON object; `{"error": "can't connect to HOST"}` where nobody was reached.

        Raises:
            OutcomeUnknown: The request was sent, and no reply came.
            MessageTooLarge: The message is longer than a limit allows.
        """

    def call_viewleader(self, request: str) -> str:
        """Send a request to the view leader and wait for the reply.

        Args:
            request: A JSON object.

        Returns:
            The reply, a JSON object; `{"error": "can't connect to HOST"}` where nobody was reached.

        Raises:
            OutcomeUnknown: The request was sent, and no reply came.
            MessageTooLarge: The message is longer than a limit allows.
        """

    def call_address(self, address: str, request: str, timeout_ms: int | None = None) -> str:
        """Send a request to any server and wait for the reply.

        Args:
            address: `HOST:PORT`.
            request: A JSON object.
            timeout_ms: How long it may take, where that is shorter than the client's timeout.

        Returns:
            The reply, a JSON object; `{"error": "can't connect to HOST"}` where nobody was reached.

        Raises:
            OutcomeUnknown: The request was sent, and no reply came.
            MessageTooLarge: The message is longer than a limit allows.
        """

    def setr(self, key: str, value: str) -> list[str]:
        """Store a value on the three servers of a name.

        Args:
            key: A JSON string.
            value: Any JSON value.

        Returns:
            The addresses of the servers that hold it now, primary first.

        Raises:
            NoViewLeader: It did not happen.
            NoServers: It did not happen.
            Busy: It did not happen.
            WrongEpoch: It did not happen.
            NotDone: It did not happen.
            MessageTooLarge: It did not happen.
            OutcomeUnknown: It may have happened.

        Example:
            >>> len(client.setr('"apple"', '{"colour": "red"}'))
            3
        """

    def getr(self, key: str) -> str | None:
        """Read the last acknowledged value of a name.

        Args:
            key: A JSON string.

        Returns:
            The value as JSON; `None` where the name has none.

        Raises:
            NoViewLeader: No view leader answered.
            NoServers: The view has no server.
            NotDone: Nobody could serve it in time.
            MessageTooLarge: The message is longer than a limit allows.
            OutcomeUnknown: No answer came in time.
        """

    def setr_many(self, pairs: Sequence[tuple[str, str]]) -> list[list[str] | DhtError]:
        """Store many values at once, over kept-open connections.

        Args:
            pairs: JSON strings, each with a JSON value.

        Returns:
            What became of each, in their order: the addresses of the servers that hold it now, or
            an error.

        Raises:
            OutcomeUnknown: The client was closed meanwhile; each may have happened.
        """

    def getr_many(self, keys: Sequence[str]) -> list[str | DhtError | None]:
        """Read many names at once, over kept-open connections.

        Args:
            keys: JSON strings.

        Returns:
            What became of each, in their order: the value as JSON, `None` where the name has none,
            or an error.

        Raises:
            OutcomeUnknown: The client was closed meanwhile.
        """

    def sleep(self, seconds: float) -> None:
        """Let time pass; what a signal handler raises ends it.

        Args:
            seconds: How long, 0 or more.
        """

    @property
    def real(self) -> bool:
        """True: time passes by itself, and threads may wait at once."""

    def monotonic(self) -> float:
        """Return the seconds since the client was made."""

    def close(self) -> None:
        """Close the connections. Closing again does nothing."""

@final
class SimCluster:
    """A ring of simulated nodes in virtual time.

    Threads use it in turns: each call runs to its end, with the GIL released. Times are
    milliseconds of virtual time. Nodes are known by names; the view leader's is `viewleader`.

    Every method raises BrokenRule once the ring has broken a rule, but for those that only look:
    `is_alive`, `holders`, `view` and `trace`. Every method raises RuntimeError once the simulator
    has failed, in a forked child, and in a signal handler that interrupted a call.
    """

    def __new__(
        cls,
        seed: int,
        *,
        lease_ms: int = 30000,
        heartbeat_ms: int = 10000,
        trace_lines: int = 2000,
        check_rules: bool = False,
    ) -> SimCluster:
        """Create a cluster without nodes.

        Args:
            seed: Decides all that chance decides, from 0 to 2**64 - 1.
            lease_ms: How long the view leader believes a server alive after a heartbeat.
            heartbeat_ms: How often servers renew their leases.
            trace_lines: How many lines of trace are kept; 0 keeps none, and is faster.
            check_rules: Whether every step of every node is judged by the rules of the protocol;
                what that costs grows with the number of names.

        Raises:
            ValueError: A span is 0.
        """

    def start_leader(self, listen_ms: int = 400) -> str:
        """Start the view leader, and return its address.

        Args:
            listen_ms: How long it listens before it takes its ring for a new one.
        """

    def start_server(self, name: str, number: int) -> str:
        """Start a server on a host of its own, or on that on which it ran before.

        Args:
            name: The node's name.
            number: With the seed, what decides its place on the ring; another one for each life.

        Returns:
            Its address.
        """

    def start_client(self, name: str, number: int, timeout_ms: int) -> None:
        """Start a client on a host of its own.

        Args:
            name: The node's name, which no other has had.
            number: Tells it from all other clients.
            timeout_ms: How long its operations may take.
        """

    def kill(self, name: str) -> None:
        """Kill a node's process without a word."""

    def pause(self, name: str) -> None:
        """Have a node's process stand still: its connections stay open, what comes waits."""

    def resume(self, name: str) -> None:
        """Let a process go on; it finds all that has come meanwhile."""

    def leave(self, name: str, timeout_ms: int) -> bool:
        """Have a server leave the ring, and let time pass until it has ended.

        Returns:
            Whether it has. Where not, it goes on leaving.
        """

    def is_alive(self, name: str) -> bool:
        """Return whether a node's process runs, or stands still."""

    def cut(self, from_name: str, to_name: str) -> None:
        """Let nothing pass from the host of one node to that of another any more."""

    def heal(self) -> None:
        """Let everything pass again."""

    def advance(self, span_ms: int) -> None:
        """Let time pass. Ctrl-C ends it."""

    @property
    def now_ms(self) -> int:
        """The time since the start, as the last call left it."""

    def ask(self, name: str, address: str, request: str, timeout_ms: int) -> str:
        """Send a request from a client's host, and let time pass until the reply is there.

        Args:
            name: The client.
            address: Whom it asks.
            request: A JSON object.
            timeout_ms: How long the reply is waited for.

        Returns:
            The reply, a JSON object; `{"error": "can't connect to ADDRESS"}` where nobody was
            reached.

        Raises:
            OutcomeUnknown: The request was sent, and no reply came in time.
            MessageTooLarge: The request is longer than 16 MiB.
        """

    def setr_many(self, name: str, pairs: list[tuple[str, str]]) -> list[list[str] | DhtError]:
        """Have a client store values, all at once, and let time pass until each has ended.

        Args:
            name: The client.
            pairs: Names, as JSON strings, and values, as JSON.

        Returns:
            For each the addresses of the servers that hold it, primary first, or what went wrong.
        """

    def getr_many(self, name: str, keys: list[str]) -> list[str | DhtError | None]:
        """Have a client read names, all at once, and let time pass until each has ended.

        Args:
            name: The client.
            keys: Names, as JSON strings.

        Returns:
            For each the value as JSON, `None` where there is none, or what went wrong.
        """

    def holders(self, key: str) -> list[str]:
        """Return the addresses of the servers that have a copy of a name now. No time passes."""

    def view(self) -> str | None:
        """Return the view as `query_servers` has it, in no time; `None` without a view leader."""

    def trace(self) -> str:
        """Return the last lines of what happened, one event each."""

@final
class Pipeline:
    """Many calls under way at once; nothing here waits.

    Each call has a ticket. Once `fileno()` is readable, `finished()` gives what has ended. The
    calls of all pipelines of a process are carried by one thread, which never touches Python.
    """

    def __new__(
        cls,
        viewleader: str = ...,
        server: str = ...,
        timeout_ms: int = 5000,
        message_bytes_max: int = ...,
    ) -> Pipeline:
        """Create a pipeline; nothing is sent yet. The arguments are those of `Client`."""

    def fileno(self) -> int:
        """Return the file descriptor that is readable when calls have ended."""

    def setr_many(self, pairs: Sequence[tuple[str, str]]) -> int:
        """Begin to store values; return the ticket."""

    def getr_many(self, keys: Sequence[str]) -> int:
        """Begin to read names; return the ticket."""

    def call_server(self, request: str) -> int:
        """Begin a request to the client's server; return the ticket."""

    def call_viewleader(self, request: str) -> int:
        """Begin a request to the view leader; return the ticket."""

    def call_address(self, address: str, request: str) -> int:
        """Begin a request to the server at `HOST:PORT`; return the ticket."""

    def cancel(self, ticket: int) -> None:
        """Give a call up. What was sent may have happened, and is not tried again."""

    def finished(
        self,
    ) -> list[tuple[int, list[list[str] | str | DhtError | None] | str | Exception]]:
        """Take what has ended, oldest first.

        Returns:
            Tickets, each with the list that `Client.setr_many` or `Client.getr_many` returns, with
            a reply, or with an exception. Calls that were given up may be among them.
        """

    def close(self) -> None:
        """Close the connections. Calls under way end with `OutcomeUnknown`."""
