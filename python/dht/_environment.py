"""What environment variables say to every part of the package."""

import os

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
"""What stands for yes in an environment variable."""


def py2_wanted() -> bool:
    """Return whether DHT_PY2_REPR asks for Python 2's form of what is printed."""
    return os.environ.get("DHT_PY2_REPR", "").strip().lower() in TRUE_WORDS
