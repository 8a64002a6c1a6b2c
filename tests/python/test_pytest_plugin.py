"""`dht.pytest_plugin`: what a test file that names it gets."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from harness import ROOT, run
from test_library import run_code

pytest_plugins = ["pytester"]

NAMED = 'pytest_plugins = ["dht.pytest_plugin"]'
Check = Callable[[str], pytest.RunResult]


@pytest.fixture
def check(pytester: pytest.Pytester) -> Check:
    """Runs pytest on a test file beside a conftest.py that names the plugin."""
    # An extension module is not made to be loaded twice by one process.
    options = ("-p", "no:cacheprovider", "--strict-markers", "-W", "error")

    def begin(text: str) -> pytest.RunResult:
        pytester.makeconftest(NAMED)
        pytester.makepyfile(f"import pytest\n{text}")
        return pytester.runpytest_subprocess(*options, timeout=60)

    return begin


def test_a_ring_for_each_test(check: Check) -> None:
    """Real and of three servers where nothing else is said; each test has its own."""
    result = check("""
def test_default(dht_cluster, dht_client):
    assert (dht_cluster.clock, len(dht_cluster.servers)) == ("real", 3)
    assert dht_client.setr("a", 1) == 3

def test_another(dht_client):
    with pytest.raises(KeyError):
        dht_client.getr("a")

@pytest.mark.dht(servers=5, clock="virtual", seed=9, lease=2.0)
def test_marked(dht_cluster, dht_client):
    assert (dht_cluster.clock, dht_cluster.seed) == ("virtual", 9)
    assert len(dht_cluster.view.servers) == 5
    dht_cluster.servers[0].pause()
    dht_cluster.advance(2.5)
    assert len(dht_cluster.view.servers) == 4
    assert dht_client.setr("a", 1) == 3
""")
    result.assert_outcomes(passed=3)


def test_a_module_may_name_it_too(pytester: pytest.Pytester) -> None:
    """For the fixtures."""
    pytester.makepyfile(f"{NAMED}\ndef test_it(dht_client):\n    dht_client.setr('a', 1)\n")
    pytester.runpytest_subprocess("-W", "error", timeout=60).assert_outcomes(passed=1)


def test_the_closest_marker_wins(check: Check) -> None:
    """Option by option."""
    result = check("""
pytestmark = pytest.mark.dht(servers=2, clock="virtual")

class TestRing:
    @pytest.mark.dht(servers=4)
    def test_near(self, dht_cluster):
        assert (dht_cluster.clock, len(dht_cluster.servers)) == ("virtual", 4)

    def test_far(self, dht_cluster):
        assert (dht_cluster.clock, len(dht_cluster.servers)) == ("virtual", 2)
""")
    result.assert_outcomes(passed=2)


def test_a_failure_shows_the_seed_and_the_trace(check: Check) -> None:
    """And what has become of each server; a test that passes shows nothing."""
    text = """
@pytest.mark.dht(clock="virtual"SEED)
def test_it(dht_cluster, dht_client):
    dht_cluster.servers[1].kill()
    dht_client.setr("apple", 1)
    assert RESULT
"""
    result = check(text.replace("SEED", "").replace("RESULT", "False"))
    result.assert_outcomes(failed=1)
    output = result.stdout.str()
    assert "- dht cluster (call) -" in output
    assert re.search(r"<server 2 at 10\.0\.0\.\d:38000, killed>", output)
    trace = output.partition("the end of the trace:")[2]
    assert re.search(r"^ *\d+ client 1 < ", trace, re.MULTILINE)
    found = re.search(r"once more: @pytest.mark.dht\(clock='virtual', seed=(\d+)\)$", output, re.M)
    assert found
    again = check(text.replace("SEED", f", seed={found[1]}").replace("RESULT", "False"))
    assert section(again.stdout.str()) == section(output)
    result = check(text.replace("SEED", "").replace("RESULT", "True"))
    result.assert_outcomes(passed=1)
    assert "dht cluster" not in result.stdout.str()


def section(output: str) -> str:
    """The lines of the trace in a report."""
    return "\n".join(re.findall(r"^ *\d+ (?:server|client|viewleader|outside).*$", output, re.M))


def test_a_failure_on_a_real_ring(check: Check) -> None:
    """It has no trace, but its nodes are shown."""
    result = check("def test_it(dht_client):\n    assert dht_client.getr('a')\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*dht cluster (call)*", "<Cluster of 3, clock='real', running>", "<viewleader at *>"]
    )
    assert "the end of the trace" not in result.stdout.str()


@pytest.mark.parametrize(
    ("marker", "why"),
    [
        ("server=3", "it takes servers, clock, seed, lease, not server"),
        ("3", "it takes servers, clock, seed, lease by name, not 3"),
        ('clock="wall"', 'clock is "real" or "virtual", not \'wall\''),
        ("seed=4", 'seed needs clock="virtual"'),
        ('servers="x"', "servers is a whole number, 0 or more, not 'x'"),
    ],
)
def test_markers_that_cannot_be(check: Check, marker: str, why: str) -> None:
    """The test does not run, and its error is one line that says why."""
    result = check(f"@pytest.mark.dht({marker})\ndef test_it(dht_client):\n    pass\n")
    result.assert_outcomes(errors=1)
    (line,) = re.findall(r"^@pytest\.mark\.dht of .*$", result.stdout.str(), re.MULTILINE)
    assert "::test_it: " in line
    assert why in line
    assert "Traceback" not in result.stdout.str()


def test_the_marker_is_listed(check: Check, pytester: pytest.Pytester) -> None:
    """`pytest --markers` says what it takes."""
    check("")
    listed = pytester.runpytest_subprocess("-p", "dht.pytest_plugin", "--markers", timeout=60)
    listed.stdout.fnmatch_lines(["@pytest.mark.dht(servers=3, clock=*"])


def test_it_loads_nowhere_by_itself(tmp_path: Path) -> None:
    """No entry point, and naming it imports neither the cluster nor what that needs."""
    plugins = {point.value.partition(":")[0] for point in entry_points(group="pytest11")}
    assert "dht.pytest_plugin" not in plugins
    code = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import dht.pytest_plugin\n"
        "new = {name for name in set(sys.modules) - before if name.startswith('dht')}\n"
        "print(not new & {'dht.cluster', 'dht.testing', 'dht._real', 'dht._virtual'})\n"
    )
    assert run_code(code, tmp_path) == "True\n"


def test_the_grader_s_example() -> None:
    """Full marks for our ring, and a seed gives the same again."""
    script = str(ROOT / "examples" / "grade_replication.py")
    done = run([sys.executable, script, "3"])
    assert (done.returncode, done.stderr) == (0, "")
    *lines, total = done.stdout.splitlines()
    assert total == "100 of 100 points, seed 3"
    assert len(lines) == 6
    assert all(re.match(r"(\d+)/\1  \w", line) for line in lines)
    assert run([sys.executable, script, "3"]).stdout == done.stdout


def test_the_grader_s_example_finds_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """A check that fails costs its points, says why, and the exit status shows it."""
    example = runpy.run_path(str(ROOT / "examples" / "grade_replication.py"))

    def too_much(cluster: object, client: object) -> None:
        """Every write is acknowledged by four servers."""
        example["expect"]("key 0", "copies", 3, 4)

    assert example["grade"]([(7, too_much), (3, example["linearizable"])], seed=1) == 7
    wrong, right = capsys.readouterr().out.splitlines()
    assert wrong == (
        " 0/7  Every write is acknowledged by four servers: Failed: key 0: copies 3, not 4"
    )
    assert right.startswith(" 3/3  All that")
