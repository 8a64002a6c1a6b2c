"""The original's `common2`, for tools that import it from beside the scripts."""

import _launch

_launch.find()

from dht.common2 import (  # noqa: E402 - it may have to be found first
    LOCK_LEASE,
    SERVER_HIGH,
    SERVER_LOW,
    VIEWLEADER_HIGH,
    VIEWLEADER_LOW,
)

__all__ = ["LOCK_LEASE", "SERVER_HIGH", "SERVER_LOW", "VIEWLEADER_HIGH", "VIEWLEADER_LOW"]
