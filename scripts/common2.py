"""The original's `common2`, for tools that import it from beside the scripts."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # beside the file, not the link

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
