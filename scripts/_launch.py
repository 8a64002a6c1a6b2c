"""Finds dht for the scripts beside this file, and runs one of its commands.

They run with any Python 3: with one that has dht installed directly, with another by way of the
clone's own .venv, which `make build` fills.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types

CLONE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
HOW = f"run `make build` in {CLONE}, or `pip install {CLONE}`"


def run(name: str) -> int:
    """Run a command.

    Args:
        name: `viewleader`, `server` or `client`.

    Returns:
        The exit status.
    """
    try:
        try:
            command = _import("dht.cli." + name)
        except (ImportError, SyntaxError) as error:
            _run_in_venv()
            return _explain(name, error)
        status: int = command.main()
        return status
    except KeyboardInterrupt:
        return 130


def find() -> None:
    """Make `import dht` work for an importer of the modules beside this file, where possible."""
    try:
        _import("dht")
    except ImportError as error:
        package = os.path.join(CLONE, "python", "dht")
        built = any(
            name.startswith("_dht.") and name.endswith(".so") for name in os.listdir(package)
        )
        if sys.version_info < (3, 11) or not built:
            raise ImportError("dht is not built for this Python: " + HOW) from error
        for module in [each for each in sys.modules if each.split(".")[0] == "dht"]:
            del sys.modules[module]
        sys.path.append(os.path.dirname(package))


def _import(name: str) -> "types.ModuleType":
    """Import a module by its name; `importlib`, which does so too, takes long to import itself."""
    __import__(name)
    return sys.modules[name]


def _run_in_venv() -> None:
    """Start the script again with the clone's own interpreter; return where that cannot help."""
    venv = os.path.join(CLONE, ".venv")
    python = os.path.join(venv, "bin", "python")
    if os.access(python, os.X_OK) and os.path.realpath(sys.prefix) != os.path.realpath(venv):
        os.execv(python, [python, *sys.argv])  # noqa: S606 - the arguments are our own


def _explain(name: str, error: Exception) -> int:
    missing = getattr(error, "name", None) in ("dht", "dht._dht", "dht.cli")
    reason = "dht is not built" if missing else f"cannot import dht: {error}"
    sys.stderr.write(f"{name}.py: error: {reason}; {HOW}\n")
    return 1
