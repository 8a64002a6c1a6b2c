"""The original's constants, under their original names.

Ports count from the low end, and the high end is excluded.
"""

SERVER_LOW = 38000
"""The first port that a server tries."""

SERVER_HIGH = 38010
"""One past the last port that a server tries."""

VIEWLEADER_LOW = 39000
"""The first port that a view leader tries."""

VIEWLEADER_HIGH = 39010
"""One past the last port that a view leader tries."""

LOCK_LEASE = 30
"""How long a server is believed alive after its last heartbeat, in seconds."""
