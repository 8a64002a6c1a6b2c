"""Figures of running nodes: what `ViewLeader.statistics` and `Server.statistics` return."""

from typing import Any, NamedTuple

from dht.ring import Ring


class LeaderStatistics(NamedTuple):
    """What a view leader knows at one moment.

    Attributes:
        epoch: How often the view has changed.
        ring: The servers of the view with their positions.
        revision: Grows with each change of the assignment of slots to servers, and with restarts.
        slots_settled: How many slots are on their three servers.
        slots_moving: How many are on their way.
        slots_waiting: How many have no living holder. What is missing to 10,000 was never given
            to anybody: no server has joined yet.
        locks: How many locks are held.
        lock_queue_longest: How many clients the longest queue of a lock has, the holder included.
    """

    epoch: int
    ring: Ring
    revision: int
    slots_settled: int
    slots_moving: int
    slots_waiting: int
    locks: int
    lock_queue_longest: int

    @property
    def settled(self) -> bool:
        """Whether nothing moves and nothing waits."""
        return self.slots_moving == 0 and self.slots_waiting == 0


class ServerStatistics(NamedTuple):
    """What a storage server knows at one moment.

    Attributes:
        address: How others reach it; empty until a view leader has answered.
        position: Its position on the ring.
        epoch: The epoch that it knows; 0 until it has joined.
        revision: Everything that concerns the server was adopted up to here.
        keys: How many replicated names it holds.
        keys_primary: How many of them it comes first for.
        keys_local: How many names `set` stored here.
        keys_received: How many values came because this server joined their range.
        bytes: The bytes of the replicated names and values.
        pending: How many writes not everybody who gets them holds yet.
    """

    address: str
    position: int
    epoch: int
    revision: int
    keys: int
    keys_primary: int
    keys_local: int
    keys_received: int
    bytes: int
    pending: int


def of_leader(view: dict[str, Any], stats: dict[str, Any]) -> LeaderStatistics:
    """Return the figures of a view leader's replies to `query_servers` and `dht_stats`."""
    fields = LeaderStatistics._fields[2:]
    return LeaderStatistics(
        stats["epoch"], Ring(view["result"]), *(stats[field] for field in fields)
    )


def of_server(stats: dict[str, Any]) -> ServerStatistics:
    """Return the figures of a server's reply to `dht_stats`."""
    fields = ServerStatistics._fields[1:]
    return ServerStatistics(stats["addr"], *(stats[field] for field in fields))
