"""The wheel: what is in it, and that it works on every interpreter of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from conftest import StartProgram
from harness import ROOT, SCRIPTS, clean_env, wait_until

INTERPRETERS = ("python3.11", "python3.12", "python3.13", "python3.14")
BUILD_SECONDS = 600


def output(argv: Sequence[str], folder: Path, seconds: float = 60.0, **env: str) -> str:
    """Runs a program in `folder` and returns what it printed; fails if it failed."""
    done = subprocess.run(
        list(argv),
        cwd=folder,
        env=clean_env(PYTHONPATH="", **env),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def candidates(name: str) -> Iterator[str]:
    """Where an interpreter of this name may be: on the PATH, or kept by pyenv."""
    if found := shutil.which(name):
        yield found
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(root.glob(f"versions/*/bin/{name}")))


def interpreters() -> list[str]:
    """One interpreter of each version that really runs, this one among them."""
    running = {sys.version_info[:2]: sys.executable}
    for name in INTERPRETERS:
        for path in candidates(name):
            probe = [path, "-c", "import sys, venv; print(*sys.version_info[:2])"]
            done = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=False)
            if done.returncode == 0:
                major, minor = map(int, done.stdout.split())
                running.setdefault((major, minor), path)
    return [path for version, path in sorted(running.items()) if version >= (3, 11)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built offline with the tools of this environment and what is built already."""
    folder = tmp_path_factory.mktemp("wheel")
    # pip finds the build tools by the PATH, whether this environment is activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"VIRTUAL_ENV": sys.prefix, "PYO3_PYTHON": sys.executable, "PATH": path}
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    output([*pip, *options, str(ROOT)], ROOT, BUILD_SECONDS, **env)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.timeout(BUILD_SECONDS)
def test_what_is_in_the_wheel(wheel: Path) -> None:
    """One wheel for all versions from 3.11 on, typed, with its commands and its licence."""
    name, _, python, abi, platform = wheel.stem.split("-")
    assert (name, python, abi) == ("dht", "cp311", "abi3")
    assert platform != "any"
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        (entry,) = [file for file in files if file.endswith("entry_points.txt")]
        commands = archive.read(entry).decode()
        (entry,) = [file for file in files if file.endswith(".dist-info/METADATA")]
        metadata = archive.read(entry).decode()
    assert {"dht/__init__.py", "dht/py.typed", "dht/_dht.pyi", "dht/_dht.abi3.so"} <= files
    assert {"dht/common.py", "dht/common2.py"} <= files
    assert not [file for file in files if file.startswith(("tests/", "src/")) or ".pyc" in file]
    assert any("LICENSE" in file for file in files)
    for command in ("viewleader.py", "server.py", "client.py"):
        assert f"{command}=" in commands.replace(" ", "")
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert [line for line in needs if "extra ==" not in line] == ["Requires-Dist: rich>=13"]


@pytest.mark.timeout(BUILD_SECONDS)
@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).parent.parent.name)
def test_installed_from_the_wheel(
    python: str, wheel: Path, tmp_path: Path, start: StartProgram
) -> None:
    """In a fresh environment and another folder it imports, and its commands make a ring."""
    home = tmp_path / "env"
    output([python, "-m", "venv", "--without-pip", str(home)], tmp_path)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    output([*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], tmp_path)
    code = "import dht, dht.common, dht.common2; print(dht.__version__); print(dht.__file__)"
    version, file = output([str(home / "bin" / "python"), "-c", code], tmp_path).splitlines()
    assert version == wheel.stem.split("-")[1]
    assert Path(file).is_relative_to(home)

    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = clean_env(PATH=path, PYTHONPATH="")
    leader = start([str(home / "bin" / "viewleader.py"), "--port", "0"], env)
    options = ["--port", "0", "--viewleader", leader.address]
    start([str(home / "bin" / "server.py"), *options], env)
    client = ["client.py", "--viewleader", leader.address]
    wait_until(lambda: "127.0.0.1" in output([*client, "query_servers"], tmp_path, PATH=path))
    said = output([*client, "setr", "a", "1"], tmp_path, PATH=path)
    assert said == "Trying to setr a to 1\nset a to 1\n"
    got = output([*client, "getr", "a"], tmp_path, PATH=path)
    assert got == "{'status': 'ok', 'value': '1'}\n"


@pytest.mark.parametrize("name", ["viewleader.py", "server.py", "client.py"])
def test_the_scripts_run_as_they_are(name: str, tmp_path: Path) -> None:
    """`./client.py` and so on, from any folder, by their own first line."""
    script = SCRIPTS / name
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    assert "usage:" in output([str(script), "--help"], tmp_path, PATH=path)
