"""A SeqPulse and its endpoint for each fault test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import COVERAGE, Installation, live_installation


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Installation]:
    """An installation of its own, with its own database, and nothing running yet."""
    with live_installation(tmp_path) as made:
        # These are about time, which being measured costs; and who is killed has nothing to tell.
        made.env.pop(COVERAGE, None)
        yield made


@pytest.fixture
def endpoint(scene: Installation) -> str:
    return scene.start_endpoint()
