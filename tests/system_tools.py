"""Find programs of the operating system that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRED = "REQUIRE_SYSTEM_TOOLS"


def require(name: str, package: str | None = None) -> str:
    """Return the path of a program; without it, skip the test and say what to install.

    With REQUIRE_SYSTEM_TOOLS=1 (CI) the test fails instead: there a skipped test would go unnoticed.

    Args:
        package: Debian package, if its name differs.
    """
    found = shutil.which(name)
    if found:
        return found
    advice = f"install {name}: apt-get install {package or name}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(advice)
    pytest.skip(advice)
