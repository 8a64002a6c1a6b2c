"""The options of a cluster: what they may be, and the ring that they ask for."""

import os
from dataclasses import dataclass
from typing import Literal

from dht._real import RealRing
from dht._ring import Ring
from dht._virtual import TRACE_LINES, VirtualRing

HEARTBEAT_MAX_SECONDS = 10.0
HEARTBEATS_PER_LEASE = 3


@dataclass(frozen=True)
class ClusterOptions:
    """What a user says of a cluster, as `dht.Cluster` describes it.

    Raises:
        ValueError: An option is out of range, or makes no sense with this clock.
        TypeError: An option is no number.
    """

    servers: int
    clock: Literal["real", "virtual"]
    seed: int | None
    lease: float
    trace_lines: int | None
    check_rules: bool
    data_dir: "str | os.PathLike[str] | None" = None

    def __post_init__(self) -> None:
        """Check everything."""
        if self.clock not in ("real", "virtual"):
            raise ValueError(f'clock is "real" or "virtual", not {self.clock!r}')
        self._check_numbers()
        if self.clock == "real":
            for name in ("seed", "trace_lines", "check_rules"):
                if getattr(self, name) not in (None, False):
                    raise ValueError(f'{name} needs clock="virtual": nobody controls real time')
        if self.clock == "virtual" and self.data_dir is not None:
            raise ValueError('data_dir needs clock="real": simulated nodes have no disk')
        if self.data_dir is not None and not os.fspath(self.data_dir):
            raise ValueError("data_dir is the name of a directory, such as ./data, not empty")

    def _check_numbers(self) -> None:
        if not isinstance(self.servers, int):
            raise TypeError(f"servers is a whole number, 0 or more, not {self.servers!r}")
        if not isinstance(self.lease, (int, float)):
            raise TypeError(f"lease is a number of seconds above 0, not {self.lease!r}")
        if self.servers < 0:
            raise ValueError(f"servers is 0 or more, not {self.servers}")
        if not 0 < self.lease < float("inf"):
            raise ValueError(f"lease is a number of seconds above 0, not {self.lease}")
        if self.seed is not None and not 0 <= self.seed < 2**64:
            raise ValueError(f"seed is from 0 to 2**64 - 1, not {self.seed}")
        if self.trace_lines is not None and self.trace_lines < 0:
            raise ValueError(f"trace_lines is 0 or more, not {self.trace_lines}")

    def make_ring(self) -> tuple[Ring, int | None]:
        """Return a ring without nodes, and the seed of one in virtual time."""
        heartbeat = min(HEARTBEAT_MAX_SECONDS, self.lease / HEARTBEATS_PER_LEASE)
        if self.clock == "real":
            data_dir = None if self.data_dir is None else os.fspath(self.data_dir)
            return RealRing(self.lease, heartbeat, data_dir), None
        seed = int.from_bytes(os.urandom(4), "big") if self.seed is None else self.seed
        ring = VirtualRing(
            seed,
            lease=self.lease,
            heartbeat=heartbeat,
            trace_lines=TRACE_LINES if self.trace_lines is None else self.trace_lines,
            check_rules=self.check_rules,
        )
        return ring, seed
