"""What has threads or connections belongs to one process: a forked child has neither."""

import os


def check(owner: object, pid: int) -> None:
    """Raise `RuntimeError` in a forked child.

    Args:
        owner: What runs, named by its class.
        pid: The process that it runs in.
    """
    if pid != os.getpid():
        raise RuntimeError(
            f"this {type(owner).__name__} runs in the parent process and not in a forked child; "
            'use multiprocessing\'s "spawn" start method, or create one in the child'
        )
