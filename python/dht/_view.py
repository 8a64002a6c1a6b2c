"""What the view leader says of a ring, and what of it is as it should be."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from dht._members import ClusterServer


class View(NamedTuple):
    """The view leader's view of the ring.

    Attributes:
        epoch: How often servers have joined or were removed.
        servers: The address and the ring position of every server, by position.
    """

    epoch: int
    servers: tuple[tuple[str, int], ...]


def read_view(text: str) -> View:
    """Return the view that a reply to `query_servers` tells of."""
    reply = json.loads(text)
    return View(reply["epoch"], tuple((address, position) for address, position in reply["result"]))


def by_preference(view: View, slot: int, addresses: Iterable[str]) -> list[str]:
    """Return addresses in the order in which the ring wants their servers to have a slot."""
    # It begins with the last server below the slot, and with the very last where none is.
    servers = sorted(view.servers, key=lambda server: (server[1], server[0]))
    first = sum(position < slot for _, position in servers) - 1
    order = {server[0]: place for place, server in enumerate(servers[first:] + servers[:first])}
    return sorted(addresses, key=lambda address: (order.get(address, len(order)), address))


def unsettled(text: str, servers: Iterable[ClusterServer]) -> str:
    """Return what keeps a ring from being settled; nothing where it is.

    Args:
        text: The reply to a `query_servers` that speaks the extension.
        servers: All servers that were ever there.
    """
    reply = json.loads(text)
    members = {address for address, _ in reply["result"]}
    identities = {identity for identity, _, _ in reply["dht"]["servers"]}
    missing = []
    for server in servers:
        inside = server.address in members
        if server.state == "running" and not (inside and server._has_joined(identities)):
            missing.append(f"{server.address} is not in the view")
        if server.state in ("killed", "left") and inside:
            missing.append(f"{server.address} ({server.state}) is still in the view")
    if not missing and not reply["dht"]["settled"]:
        missing.append("values are still on their way to their servers")
    return "; ".join(missing)
