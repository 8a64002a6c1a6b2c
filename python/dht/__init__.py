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

from __future__ import annotations

from dht._dht import __version__, build_profile, hash_key
from dht.errors import (
    Busy,
    DhtError,
    DidNotHappen,
    LockLost,
    ManyFailed,
    MessageTooLarge,
    NoServers,
    NotDone,
    NoViewLeader,
    OutcomeUnknown,
    Refused,
    ServerUnreachable,
    WrongEpoch,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # checkers know the name; `typing` itself would take as long as all the rest
    from typing import Any

    from dht import events as events
    from dht.aio import AsyncClient
    from dht.client import Client
    from dht.cluster import Cluster
    from dht.events import Event
    from dht.node import Server, ViewLeader
    from dht.rebalancing import Transfer, rebalancing_a, rebalancing_f
    from dht.ring import Move, Ring
    from dht.statistics import LeaderStatistics, ServerStatistics
    from dht.status import Status

__all__ = [
    "AsyncClient",
    "Busy",
    "Client",
    "Cluster",
    "DhtError",
    "DidNotHappen",
    "Event",
    "LeaderStatistics",
    "LockLost",
    "ManyFailed",
    "MessageTooLarge",
    "Move",
    "NoServers",
    "NoViewLeader",
    "NotDone",
    "OutcomeUnknown",
    "Refused",
    "Ring",
    "Server",
    "ServerStatistics",
    "ServerUnreachable",
    "Status",
    "Transfer",
    "ViewLeader",
    "WrongEpoch",
    "__version__",
    "build_profile",
    "events",
    "hash_key",
    "rebalancing_a",
    "rebalancing_f",
]

# What is loaded when it is first used, so that `import dht` and the commands stay quick, and its
# module.
_LATER = {
    "AsyncClient": "dht.aio",
    "Client": "dht.client",
    "Cluster": "dht.cluster",
    "Event": "dht.events",
    "LeaderStatistics": "dht.statistics",
    "Move": "dht.ring",
    "Ring": "dht.ring",
    "Server": "dht.node",
    "ServerStatistics": "dht.statistics",
    "Status": "dht.status",
    "Transfer": "dht.rebalancing",
    "ViewLeader": "dht.node",
    "events": "dht.events",
    "rebalancing_a": "dht.rebalancing",
    "rebalancing_f": "dht.rebalancing",
}


if not TYPE_CHECKING:  # a checker that knew of it would find every name here

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module 'dht' has no attribute {name!r}")
        from importlib import import_module

        module = import_module(_LATER[name])
        value = module if name == "events" else getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | _LATER.keys())
