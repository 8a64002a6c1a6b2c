"""The original's `common`, for tools that import it from beside the scripts."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # beside the file, not the link

import _launch

_launch.find()

from dht.common import (  # noqa: E402 - it may have to be found first
    MAX_MESSAGE_SIZE,
    MESSAGE_BYTES_MAX,
    hash_number,
    listen,
    receive,
    send,
    send_receive,
    send_receive_range,
)

__all__ = [
    "MAX_MESSAGE_SIZE",
    "MESSAGE_BYTES_MAX",
    "hash_number",
    "listen",
    "receive",
    "send",
    "send_receive",
    "send_receive_range",
]
