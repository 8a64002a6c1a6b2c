"""Fixtures for pytest: a ring for each test, real or in virtual time.

Name the plugin in the `conftest.py` of your tests; it loads nowhere by itself:

    pytest_plugins = ["dht.pytest_plugin"]

Named in a test module, the fixtures are there, but the module's own markers are read before the
marker is known, which `--strict-markers` refuses.

Example:
    @pytest.mark.dht(servers=5, clock="virtual", lease=2.0)
    def test_two_deaths(dht_cluster, dht_client):
        dht_client.setr("apple", 1)
        for server in dht_cluster.servers[:2]:
            server.kill()
        dht_cluster.wait_settled()
        assert dht_client.getr("apple") == 1

Where a test fails, its report has the seed, and in virtual time the end of the trace.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dht.client import Client
    from dht.cluster import Cluster

TRACE_LINES_SHOWN = 40
"""How many lines of the trace the report of a failed test has."""

OPTIONS = ("servers", "clock", "seed", "lease")
"""What the marker takes."""

_CLUSTER = pytest.StashKey["tuple[Cluster, dict[str, Any]]"]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        'dht(servers=3, clock="real", seed=None, lease=30.0): what ring dht_cluster is, '
        "as dht.Cluster takes it",
    )


@pytest.fixture
def dht_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running `dht.Cluster` of the test's own; `@pytest.mark.dht(…)` says which.

    Markers of the class and the module count too; the closest one wins, option by option.
    """
    from dht.cluster import Cluster

    try:
        options = _options(request.node)
        cluster = Cluster(**options)
    except (TypeError, ValueError) as error:
        pytest.fail(f"@pytest.mark.dht of {request.node.nodeid}: {error}", pytrace=False)
    request.node.stash[_CLUSTER] = cluster, options
    with cluster:
        yield cluster


@pytest.fixture
def dht_client(dht_cluster: Cluster) -> Iterator[Client]:
    """A client of `dht_cluster`."""
    with dht_cluster.client() as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the ring did to the report of a test that failed."""
    report = yield
    made = item.stash.get(_CLUSTER, None)
    if report.failed and made is not None:
        report.sections.append((f"dht cluster ({report.when})", _told(*made)))
    return report


def _options(node: pytest.Item) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("dht"))):
        if marker.args:
            raise TypeError(f"it takes {', '.join(OPTIONS)} by name, not {marker.args[0]!r}")
        for name in marker.kwargs:
            if name not in OPTIONS:
                raise TypeError(f"it takes {', '.join(OPTIONS)}, not {name}")
        options |= marker.kwargs
    return options


def _told(cluster: Cluster, options: dict[str, Any]) -> str:
    lines = [repr(cluster), *(repr(node) for node in (cluster.viewleader, *cluster.servers))]
    if cluster.clock == "virtual":
        again = ", ".join(f"{k}={v!r}" for k, v in (options | {"seed": cluster.seed}).items())
        lines.append(f"the same once more: @pytest.mark.dht({again})")
        try:
            trace = cluster.trace().splitlines()[-TRACE_LINES_SHOWN:]
        except RuntimeError as error:  # the simulator has failed
            trace = [str(error)]
        lines += ["the end of the trace:", *trace]
    return "\n".join(lines)
