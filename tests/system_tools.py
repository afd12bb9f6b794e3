"""Find programs of the operating system that some tests need."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRED = "REQUIRE_SYSTEM_TOOLS"
CLIENT_PYTHON = Path(__file__).resolve().parent.parent / ".venv-client" / "bin" / "python"


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
