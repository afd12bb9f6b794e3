"""Programs from the operating system that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRED = "REQUIRE_SYSTEM_TOOLS"


def require(name: str, package: str | None = None) -> str:
    """The path of the program `name`; package: its Debian package, where that is named otherwise.

    Where it is missing the test is skipped with what to install, or failed with REQUIRE_SYSTEM_TOOLS=1 (CI): there a
    skipped test would pass for a green one.
    """
    found = shutil.which(name)
    if found:
        return found
    advice = f"install {name}: apt-get install {package or name}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(advice)
    pytest.skip(advice)
