"""What happens to bytes on their way from one party to another."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

CLIENTS = "clients"
OTHER_CLIENTS = "other clients"
"""Of the clients' connections to servers every other one, so that some see what others do not."""
LEADER = "leader"


class Way(Enum):
    """What a link does with bytes."""

    OPEN = "open"
    HOLD = "hold"
    """They wait at the proxy; once the link is open again they go on."""
    DROP = "drop"
    """They are lost. A stream cannot go on after that, so its connection is reset at the end."""


@dataclass
class Link:
    """One direction between two parties; belongs to the loop of the proxy."""

    way: Way = Way.OPEN
    delay_seconds: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    """How many times something had to wait."""
    dropped: int = 0
    """How many times something was lost."""
    delayed: int = 0
    """How many times something came late."""

    def set(self, way: Way, delay_seconds: float) -> None:
        """Changes what happens from now on, to what waits too."""
        self.way, self.delay_seconds = way, delay_seconds
        self.changed.set()
        self.changed = asyncio.Event()

    async def passes(self) -> bool:
        """Waits until bytes that have come may go on; false where they are lost."""
        if self.way is Way.HOLD:
            self.held += 1
        while self.way is Way.HOLD:
            await self.changed.wait()
        if self.way is Way.DROP:
            self.dropped += 1
            return False
        if self.delay_seconds > 0:
            self.delayed += 1
            # Ends early where the delay itself is ended.
            with suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), self.delay_seconds)
        return True
