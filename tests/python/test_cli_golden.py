"""Every session of the command lines in `tests/golden/cli`; `REWRITE=1` writes them anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dht import _json
from dht.pyrepr import show
from harness import GOLDEN, closed_port
from rings import Ring
from transcripts_cli import REWRITE, Session, play

SESSIONS = [Session.read(path) for path in sorted((GOLDEN / "cli").glob("*.txt"))]


@pytest.mark.parametrize("session", SESSIONS, ids=[session.path.stem for session in SESSIONS])
def test_session(session: Session, make_ring: Callable[..., Ring]) -> None:
    """Each command prints and returns what the file says."""
    assert session.steps, "a file without a command tests nothing"
    with closed_port() as nobody:
        names = {"NOBODY": f"127.0.0.1:{nobody}"}
        hosts = ["--server", names["NOBODY"], "--viewleader", names["NOBODY"]]
        if session.servers is not None:
            ring = make_ring(session.servers, leader_options=(), server_options=())
            names["VIEWLEADER"] = ring.leader.address
            for number, server in enumerate(ring.servers, 1):
                names[f"SERVER{number}"] = server.address
            hosts = ring.hosts()
        went = [play(step, names, hosts) for step in session.steps]
    if REWRITE:
        session.rewritten(went)
    assert "".join(s.text() for s in went) == "".join(s.text() for s in session.steps)


def test_python_2_form_of_replies() -> None:
    """Each reply of `py2_repr.txt` is shown as Python 2.7 showed it."""
    lines = (GOLDEN / "py2_repr.txt").read_text(encoding="utf-8").split("\n")[2:]
    pairs = list(zip(lines[0::3], lines[1::3], strict=True))
    assert len(pairs) > 100
    for text, shown in pairs:
        assert show(_json.loads(text), py2=True) == shown, text
