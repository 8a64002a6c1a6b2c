"""The limits that several parts of the package have to agree on."""

import os
import sys

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""The longest message that is sent or accepted, unless an option says else."""

TRANSFER_BYTES_PER_S = 16 * 1024 * 1024
"""How many bytes a second a server gives to others that join, while clients ask it for things."""

TRANSFER_BYTES_PER_S_MAX = 10_000_000_000
"""The highest such rate that an option takes."""


def checked_message_bytes(limit: int) -> int:
    """Return `message_bytes_max` as it was given.

    Args:
        limit: The longest message that is accepted or sent, in bytes.

    Raises:
        ValueError: It is below 1, or more than any machine has.
    """
    if not 1 <= limit <= sys.maxsize:
        raise ValueError(f"message_bytes_max is {limit}; give a number of bytes from 1 on")
    return limit


def message_bytes_max() -> int:
    """Return the limit in force for programs that take no options, in bytes."""
    try:
        limit = int(os.environ.get("DHT_MAX_MESSAGE_SIZE", ""))
    except ValueError:
        return MESSAGE_BYTES_MAX
    return limit if limit > 0 else MESSAGE_BYTES_MAX
