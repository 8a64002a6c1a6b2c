"""How the blocking client waits for a lock, and how it gives up."""

from typing import TYPE_CHECKING

from dht import _codec, _locks
from dht.errors import DhtError, DidNotHappen, NoViewLeader, OutcomeUnknown

if TYPE_CHECKING:
    from dht.client import Client


def lock_get(owner: "Client", lock: str, client: str, wait: bool, timeout: float | None) -> bool:
    """Take a lock; arguments, result and errors are those of `Client.lock_get`."""
    request = _codec.lock_request("lock_get", lock, client)
    _locks.check_timeout(timeout)
    transport = owner._transport
    until = None if timeout is None else transport.monotonic() + timeout
    pause, queued = _locks.POLL_FIRST_S, False
    try:
        while True:
            try:
                if _codec.decode_status(transport.call_viewleader(request)) == "granted":
                    return True
                queued = True
            except (NoViewLeader, OutcomeUnknown):
                # A place stays where it is meanwhile, and asking again does no harm.
                if not queued:
                    raise
            if not wait:
                break
            rest = pause if until is None else until - transport.monotonic()
            if rest <= 0:
                raise _locks.NotInTime
            transport.sleep(min(pause, rest))
            pause = _locks.next_pause(pause)
        release(owner, lock, client, _locks.GIVE_BACK_S)
    except _locks.NotInTime as over:
        left = _give_back(owner, lock, client, _locks.GIVE_BACK_S)
        raise over.told(lock, client, timeout, left) from None
    except BaseException as error:
        if queued or not isinstance(error, DidNotHappen):
            _give_up(owner, lock, client, error)
        raise
    return False


def release(owner: "Client", lock: str, client: str, span_s: float) -> bool:
    """Release a lock; result and errors are those of `Client.lock_release`.

    Args:
        owner: The client that asks.
        lock: The lock's name.
        client: Who held it, or waited for it.
        span_s: How long to try again while the view leader cannot be reached, in seconds; the
            client's timeout where that is shorter.
    """
    transport = owner._transport
    until, pause = transport.monotonic() + min(span_s, owner._timeout), _locks.POLL_FIRST_S
    while True:
        try:
            return owner.lock_release(lock, client)
        except NoViewLeader:
            rest = until - transport.monotonic()
            if rest <= 0:
                raise
        transport.sleep(min(pause, rest))
        pause = _locks.next_pause(pause)


def _give_back(owner: "Client", lock: str, client: str, span_s: float) -> str | None:
    """Release what a failed wait may have left; return what is to be said where that fails."""
    try:
        release(owner, lock, client, span_s)
    except (DhtError, OSError, ValueError, RuntimeError) as failed:
        return _locks.left_behind(lock, client, failed)
    except BaseException as pressed:  # Ctrl-C meanwhile
        pressed.add_note(_locks.left_behind(lock, client, "not given back yet"))
        raise
    return None


def _give_up(owner: "Client", lock: str, client: str, error: BaseException) -> None:
    """Do so, and say it in the error of the wait."""
    left: list[str | None] = []
    if isinstance(error, Exception):
        left.append(_give_back(owner, lock, client, _locks.GIVE_BACK_S))
    else:
        # Whoever pressed Ctrl-C does not wait for a view leader that is silent.
        import threading

        def give_back() -> None:
            left.append(_give_back(owner, lock, client, _locks.INTERRUPTED_S))

        thread = threading.Thread(target=give_back, daemon=True)
        thread.start()
        thread.join(_locks.INTERRUPTED_S)
    note = left[0] if left else _locks.left_behind(lock, client, "no answer yet")
    if note is not None:
        error.add_note(note)
