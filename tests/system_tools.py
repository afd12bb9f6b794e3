"""Find programs that some tests need, and run them."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

REQUIRED = "REQUIRE_SYSTEM_TOOLS"
ROOT = Path(__file__).resolve().parent.parent
CLIENT_PYTHON = ROOT / ".venv-client" / "bin" / "python"


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in the root of the repository, and return its exit code and output. options: of subprocess.run."""
    given = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 600, **options}
    return subprocess.run(command, check=False, **given)


def output_of(*command: str | Path, **options: Any) -> str:
    """Run a program that must succeed; return its standard output."""
    done = run(*command, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def require(name: str, package: str | None = None) -> str:
    """Return the path of a program; without it, skip the test and say what to install.

    With REQUIRE_SYSTEM_TOOLS=1 (CI) the test fails instead: there a skipped test would go unnoticed.

    Args:
        package: Debian package, if its name differs.
    """
    found = shutil.which(name)
    if found:
        return found
    return missing(f"install {name}: apt-get install {package or name}")


def client_python() -> str:
    """The Python of the environment that has the public client."""
    if CLIENT_PYTHON.exists():
        return str(CLIENT_PYTHON)
    return missing("the client's environment is missing: make setup-client")


def missing(advice: str) -> NoReturn:
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(advice)
    pytest.skip(advice)
