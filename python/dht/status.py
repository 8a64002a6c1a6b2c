"""What a ring is doing now: what `Client.status` returns and `dht status` shows."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

OTHER_COPIES = 2
"""How many copies beside its own make the end of a server harmless."""

REASONS_MAX = 3
"""How many reasons against a restart are told in full."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A range on its way from its primary to a server that joins it.

    Attributes:
        source: The address of the primary.
        target: The address of the joiner.
        start: The first slot.
        end: One past the last slot.
        slots_done: How many slots the joiner has, of those that are not empty.
        slots: How many slots are not empty.
        keys_done: How many names the joiner has.
        keys: How many names there are.
        bytes_done: The bytes of the names and values that the joiner has.
        bytes: The bytes of all.
        seconds_left: How long the rest takes at the pace between two looks; `None` after one look,
            or where nothing came in between.
    """

    source: str
    target: str
    start: int
    end: int
    slots_done: int
    slots: int
    keys_done: int
    keys: int
    bytes_done: int
    bytes: int
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        """How much is done, 0 to 1, by bytes."""
        return self.bytes_done / self.bytes if self.bytes else 1.0


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """What a server says of itself.

    Attributes:
        program: The version of its program.
        keys: How many replicated names it holds.
        keys_primary: How many of them it comes first for.
        bytes: The bytes of the replicated names and values.
        pending: How many writes not everybody who gets them holds yet.
        transfers: What it is giving to joiners.
    """

    program: str
    keys: int
    keys_primary: int
    bytes: int
    pending: int
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server of the view.

    Attributes:
        address: How others reach it.
        identity: The name of this life of the server; `None` for an original server.
        position: Its position on the ring.
        lease_left: For how many seconds it is believed alive without a further heartbeat.
        slots_primary: For how many slots it comes first.
        leaving: Whether it wants to leave.
        figures: What it says of itself; `None` where it did not answer in time.
    """

    address: str
    identity: str | None
    position: int
    lease_left: float
    slots_primary: int
    leaving: bool
    figures: ServerFigures | None


@dataclass(frozen=True, slots=True)
class RangeStatus:
    """Slots that have the same servers.

    Attributes:
        start: The first slot.
        end: One past the last slot.
        revision: Of the assignment.
        state: `settled`; `syncing` while servers that join get the data; `dropping` while servers
            that have left delete them; `waiting` while none of `active` is there.
        active: The addresses of the servers whose copies count, primary first.
        joining: Of those that get the data.
        leaving: Of those that have to delete them.
    """

    start: int
    end: int
    revision: int
    state: Literal["settled", "syncing", "dropping", "waiting"]
    active: tuple[str, ...]
    joining: tuple[str, ...]
    leaving: tuple[str, ...]

    @property
    def slots(self) -> int:
        """How many slots."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class LockStatus:
    """A lock that somebody holds.

    Attributes:
        lock: Its name, any JSON value.
        holder: Who holds it, any JSON value.
        waiting: How many queue behind the holder.
        queue: The names under which they ask, next one first, any JSON values; at most 100.
    """

    lock: Any
    holder: Any
    waiting: int
    queue: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """A ring at one moment.

    Attributes:
        program: The version of the view leader's program.
        epoch: How often the view has changed.
        revision: Grows with each change of the assignment of slots to servers, and with restarts.
        settled: Whether nothing moves, waits, or has to be deleted.
        recovering: Whether the view leader has just started, and may not have heard every server.
        percent: How much of what had to move is in place, 0 to 99; `None` where nothing moves.
        servers: The servers of the view, by position.
        ranges: The ranges, by slot; slots that were never given to anybody are left out.
        locks: The locks that are held; at most 1,000.
        locks_held: How many locks are held in all.
        taken_at: When this was, in seconds: of `time.monotonic`, or of a cluster's virtual time.
    """

    program: str
    epoch: int
    revision: int
    settled: bool
    recovering: bool
    percent: int | None
    servers: tuple[ServerStatus, ...]
    ranges: tuple[RangeStatus, ...]
    locks: tuple[LockStatus, ...]
    locks_held: int
    taken_at: float

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """All that is on its way to servers that join ranges, as far as servers answered."""
        figures = [server.figures for server in self.servers if server.figures]
        return tuple(transfer for each in figures for transfer in each.transfers)

    def slots(self, state: str) -> int:
        """Return how many slots are in ranges of this state.

        Args:
            state: One of those of `RangeStatus.state`.
        """
        return sum(each.slots for each in self.ranges if each.state == state)

    def restart_risks(self, address: str) -> list[str]:
        """Return what speaks against ending this server now; empty where nothing does.

        Nothing does where each range that it holds has two other active copies on servers that
        stay, or as many as there are other servers.

        Args:
            address: The address as it stands in `servers`.

        Example:
            >>> with dht.Cluster(servers=3, clock="virtual", seed=1) as cluster:
            ...     cluster.client().status().restart_risks(cluster.servers[0].address)
            []
        """
        if address not in {server.address for server in self.servers}:
            return [f"{address} is not in the view"]
        if self.recovering:
            return ["the view leader has just started, and may not have heard all servers yet"]
        stay = {each.address for each in self.servers if each.identity and not each.leaving}
        others = stay - {address}
        wanted = min(OTHER_COPIES, len(others))
        if wanted == 0:
            return ["no other server stays, so there are no other copies"]
        risks = []
        for held in (held for held in self.ranges if address in held.active):
            slots = f"slots {held.start} to {held.end - 1}"
            copies = len(others & set(held.active))
            if held.state == "waiting":
                risks.append(f"{slots} wait for {', '.join(held.active)}")
            elif copies < wanted:
                risks.append(f"{slots} have {copies} of {wanted} other copies")
        return risks

    def since(self, earlier: "Status") -> "Status":
        """Return the same with estimates of the time that is left, from an earlier look."""
        seconds = self.taken_at - earlier.taken_at
        before = {_key(transfer): transfer for transfer in earlier.transfers}

        def estimated(transfer: Transfer) -> Transfer:
            known = before.get(_key(transfer))
            came = transfer.bytes_done - known.bytes_done if known else 0
            if came <= 0 or seconds <= 0:
                return transfer
            rest = transfer.bytes - transfer.bytes_done
            return replace(transfer, seconds_left=rest / came * seconds)

        def server(each: ServerStatus) -> ServerStatus:
            if each.figures is None:
                return each
            transfers = tuple(estimated(transfer) for transfer in each.figures.transfers)
            return replace(each, figures=replace(each.figures, transfers=transfers))

        return replace(self, servers=tuple(server(each) for each in self.servers))

    def to_json(self) -> str:
        """Return all of it as a JSON object, and for each server what speaks against a restart."""
        fields = asdict(self)
        del fields["taken_at"]
        for server in fields["servers"]:
            server["restart_risks"] = self.restart_risks(server["address"])
        return json.dumps(fields)


def _key(transfer: Transfer) -> tuple[str, str, int, int]:
    return transfer.source, transfer.target, transfer.start, transfer.end
