"""What every test run needs: a real PostgreSQL, the embedded one unless DATABASE_URL names another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from seqpulse import embedded
from tests.processes import TEMPLATES, Installation, live_installation

STARTED = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--alone",
        choices=("with", "without", "only"),
        default="with",
        help="tests marked `alone` (they time or kill real processes, and want the machine for themselves)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make test` runs the tests marked `alone` after the others, one by one."""
    wanted = config.getoption("--alone")
    if wanted == "with":
        return
    left_out = [item for item in items if (item.get_closest_marker("alone") is not None) != (wanted == "only")]
    items[:] = [item for item in items if item not in set(left_out)]
    config.hook.pytest_deselected(items=left_out)


def pytest_configure(config: pytest.Config) -> None:
    """Starts the embedded server: once, by the process that hands out the tests."""
    if not settings.EMBEDDED_DATABASE:
        return
    os.environ["SEQPULSE_EMBEDDED_FAST"] = "1"
    try:
        if embedded.start(settings.SEQPULSE_DATA_DIR):
            config.stash[STARTED] = settings.SEQPULSE_DATA_DIR
    except embedded.EmbeddedError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_unconfigure(config: pytest.Config) -> None:
    if STARTED in config.stash:
        embedded.stop(config.stash[STARTED])


@pytest.fixture(scope="session", autouse=True)
def templates() -> Iterator[None]:
    with TEMPLATES:
        yield


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A SeqPulse of its own, in its own database, for tests that look at it from outside: its processes are real."""
    with live_installation(tmp_path_factory.mktemp("installation")) as made:
        yield made
