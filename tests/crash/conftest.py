"""Provide an installation and an endpoint for each fault test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import COVERAGE, Installation, live_installation


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Installation]:
    """Yield an installation with its own database and no running process."""
    with live_installation(tmp_path) as made:
        # Coverage would slow the processes down, and a killed process writes none.
        made.env.pop(COVERAGE, None)
        yield made


@pytest.fixture
def endpoint(scene: Installation) -> str:
    return scene.start_endpoint()
