"""The nodes of a cluster, as its user handles them."""

import json
from typing import Literal

from dht._ring import LEADER, Ring

State = Literal["running", "paused", "killed", "left"]
"""What has become of a node."""

_WORDS: dict[State, str] = {
    "running": "runs",
    "paused": "is paused",
    "killed": "was killed",
    "left": "has left",
}


class _Member:
    """What servers and the view leader have in common."""

    def __init__(self, ring: Ring, name: str) -> None:
        self._ring = ring
        self._name = name
        self._address = ""
        self._state: State = "killed"
        self._over = False

    @property
    def address(self) -> str:
        """`HOST:PORT`; the same after a restart."""
        return self._address

    @property
    def state(self) -> State:
        """`running`, `paused`, `killed` or `left`, as far as the cluster's user has decided it."""
        return self._state

    def kill(self) -> None:
        """End the node at once, as `kill -9` would: it says nothing, and its memory is lost.

        In virtual time its connections break. In real time its thread ends after the step that it
        is in, replies that wait are not sent, and the system closes its sockets: to others that is
        what `kill -9` looks like. A paused node takes no further step.

        Raises:
            RuntimeError: It does not run.
        """
        self._need("running", "paused")
        self._ring.kill(self._name)
        self._state = "killed"

    def pause(self) -> None:
        """Have the node stand still, as `kill -STOP` would.

        It neither reads, writes nor notices that time passes; its connections stay open, and others
        wait for it until their own time is up.

        Raises:
            RuntimeError: It does not run, or is paused.
        """
        self._need("running")
        self._ring.pause(self._name)
        self._state = "paused"

    def resume(self) -> None:
        """Let the node go on; it finds all that has come meanwhile.

        Raises:
            RuntimeError: It is not paused.
        """
        self._need("paused")
        self._ring.resume(self._name)
        self._state = "running"

    def _is_over(self) -> None:
        """Take in that the cluster has stopped."""
        self._over = True

    def _check_running(self) -> None:
        if self._over:
            raise RuntimeError(f"the cluster of {self._name} is not running; make another")

    def _need(self, *states: State) -> None:
        self._check_running()
        if self.state not in states:
            wanted = " or ".join(_WORDS[state] for state in states)
            raise RuntimeError(
                f"{self._name} ({self._address}) {_WORDS[self.state]}; this needs one that {wanted}"
            )

    def __repr__(self) -> str:
        """Return name, address and state."""
        return f"<{self._name} at {self._address}, {self.state}>"


class ClusterServer(_Member):
    """A server of a `dht.Cluster`, which makes it.

    Example:
        >>> with dht.Cluster(clock="virtual", seed=1) as cluster:
        ...     server = cluster.servers[0]
        ...     server.kill()
        ...     server.state
        'killed'
    """

    def __init__(self, ring: Ring, number: int) -> None:
        super().__init__(ring, f"server {number}")
        self._joined = False
        self._leaving = False

    @property
    def state(self) -> State:
        """`running`, `paused`, `killed` or `left`."""
        if self._over:
            return self._state
        if self._leaving and self._state == "running" and self._ring.has_left(self._name):
            self._state = "left"
        return self._state

    def _begin(self) -> None:
        self._address = self._ring.start_server(self._name)
        self._state = "running"
        self._joined = self._leaving = False

    def _has_joined(self, identities: set[str]) -> bool:
        """Return whether this life of the server, not one before it, is one of these."""
        if not self._joined:
            stats = json.loads(self._ring.ask(self._address, '{"cmd": "dht_stats", "dht": 1}'))
            self._joined = stats.get("id") in identities
        return self._joined

    def restart(self) -> None:
        """Kill the server if it runs, and start it again at its old address.

        It comes back empty, or with its data where the cluster has a `data_dir`. It joins while
        time passes; `Cluster.wait_settled` waits for that.

        Raises:
            OSError: Another program has taken its port meanwhile.
            RuntimeError: The cluster does not run.
        """
        self._check_running()
        if self.state in ("running", "paused"):
            self.kill()
        self._begin()

    def leave(self, timeout: float = 60.0) -> None:
        """Have the server leave the ring for good: others get its data first, then it ends.

        Args:
            timeout: How long to wait, in seconds of the cluster's clock.

        Raises:
            TimeoutError: It still holds data that others need, and goes on leaving.
            RuntimeError: It does not run.
        """
        self._need("running")
        self._leaving = True
        if not self._ring.leave(self._name, timeout):
            raise TimeoutError(
                f"others do not have all of this server's data after {timeout:g} s; "
                "wait longer, or kill() it and rely on the other copies"
            )
        self._state = "left"

    def keys(self) -> list[str]:
        """Ask the server for every name that it has a value of, as `query_all_keys` does.

        Returns:
            The names, in order; in virtual time a few milliseconds pass.

        Raises:
            ConnectionError: It does not answer within 5 s.
            RuntimeError: It does not run.
        """
        self._need("running")
        reply = json.loads(self._ring.ask(self._address, '{"cmd": "query_all_keys"}'))
        if "error" in reply:
            raise ConnectionError(reply["error"])
        names: list[str] = reply["result"]
        return names


class ClusterLeader(_Member):
    """The view leader of a `dht.Cluster`, which makes it.

    Example:
        >>> with dht.Cluster(clock="virtual", seed=1) as cluster:
        ...     cluster.viewleader.restart()
        ...     cluster.wait_settled()
        ...     len(cluster.view.servers)
        3
    """

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring, LEADER)

    def _begin(self, *, new: bool = False) -> None:
        self._address = self._ring.start_leader(new=new)
        self._state = "running"

    def restart(self) -> None:
        """Kill the view leader if it runs, and start it again at its old address.

        It learns the ring from its servers while time passes, and locks are forgotten; where the
        cluster has a `data_dir`, it goes on where it was.

        Raises:
            OSError: Another program has taken its port meanwhile.
            RuntimeError: The cluster does not run.
        """
        self._check_running()
        if self._state in ("running", "paused"):
            self.kill()
        self._begin()
