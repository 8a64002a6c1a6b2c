"""A distributed hash table: a view leader, storage servers and a client on one Rust core.

Example:
    >>> import dht
    >>> with dht.ViewLeader() as leader, dht.Server(leader.address):
    ...     with dht.Client(leader.address) as client:
    ...         client.setr("apple", {"colour": "red"})
    ...         client.getr("apple")
    1
    {'colour': 'red'}
"""

from dht._dht import (
    Busy,
    DhtError,
    MessageTooLarge,
    NoServers,
    NotDone,
    NoViewLeader,
    OutcomeUnknown,
    WrongEpoch,
    __version__,
    build_profile,
    hash_key,
    ring_replicas,
)
from dht.client import Client
from dht.node import Server, ViewLeader

__all__ = [
    "Busy",
    "Client",
    "DhtError",
    "MessageTooLarge",
    "NoServers",
    "NoViewLeader",
    "NotDone",
    "OutcomeUnknown",
    "Server",
    "ViewLeader",
    "WrongEpoch",
    "__version__",
    "build_profile",
    "hash_key",
    "ring_replicas",
]
