"""What every test run needs: a real PostgreSQL, the embedded one unless DATABASE_URL names another."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import connections
from django.test import TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from seqpulse.devserver import embedded
from tests.processes import TEMPLATES, Installation, live_installation

ENDS = pytest.StashKey[ExitStack]()
PARTS = ("inside", "outside", "alone")

# How long an example takes says how busy the machine is; what is marked "alone" judges speed.
hypothesis_settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", choices=PARTS, help="only the tests of this part, as `make test` runs them (part_of)")


def part_of(item: pytest.Item) -> str:
    """Where a test belongs: "alone" where it is marked so, "outside" where it looks at SeqPulse from outside, through a
    browser or through processes that it starts, "inside" where it calls our code itself."""
    if item.get_closest_marker("alone") is not None:
        return "alone"
    return "outside" if any(item.get_closest_marker(name) for name in ("browser", "processes")) else "inside"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the tests of the part that is asked for; all where none is."""
    wanted = config.getoption("--part")
    if wanted is None:
        return
    config.hook.pytest_deselected(items=[item for item in items if part_of(item) != wanted])
    items[:] = [item for item in items if part_of(item) == wanted]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Half surrogate pairs, which tests log on purpose, become question marks: xdist cannot carry them."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Starts the embedded server: once, by the process that hands out the tests."""
    if not settings.EMBEDDED_DATABASE:
        return
    os.environ["SEQPULSE_EMBEDDED_FAST"] = "1"
    stack = config.stash[ENDS] = ExitStack()
    try:
        is_alone = stack.enter_context(embedded.in_use(settings.SEQPULSE_DATA_DIR))
        if embedded.start(settings.SEQPULSE_DATA_DIR):
            # Another run of tests in this checkout may have come to work on it.
            stack.callback(lambda: is_alone() and embedded.stop(settings.SEQPULSE_DATA_DIR))
    except embedded.EmbeddedError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_unconfigure(config: pytest.Config) -> None:
    if ENDS in config.stash:
        config.stash[ENDS].close()


def empty_tables(case: TransactionTestCase) -> None:
    """Ends a test that committed, as Django does, but for content types and permissions: only migrations change them.

    To make both anew for every app takes longer than to empty all tables. Those are truncated and not deleted from:
    tests look at query plans, which dead rows change.
    """
    kept = {ContentType._meta.db_table, Permission._meta.db_table}
    for alias in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        database = connections[alias]
        found = database.introspection.django_table_names(only_existing=True, include_views=False)
        database.ops.execute_sql_flush(database.ops.sql_flush(no_style(), [name for name in found if name not in kept]))


@pytest.fixture(scope="session", autouse=True)
def quick_ends() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield


@pytest.fixture(scope="session", autouse=True)
def templates() -> Iterator[None]:
    with TEMPLATES:
        yield


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A SeqPulse of its own, in its own database, for tests that look at it from outside: its processes are real."""
    with live_installation(tmp_path_factory.mktemp("installation")) as made:
        yield made
