"""Shared fixtures: levels (unit, integration, e2e), a migrated PostgreSQL, a running installation.

Servers start only when a test needs them.
"""

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import connections
from django.test import TransactionTestCase
from django.utils import timezone, translation
from hypothesis import HealthCheck, is_hypothesis_test
from hypothesis import settings as hypothesis_settings
from pytest_django.plugin import blocking_manager_key

from deployments.tests.pipeline import ENDPOINT, Pipeline
from projects.models import Environment
from projects.services import NewProject, create_project
from projects.tests.factories import make_environment
from tests import databases
from tests.processes import Installation, live_installation

LEVELS = ("unit", "integration", "e2e")

# The duration of an example depends on other load of the machine; tests of speed are marked "exclusive".
hypothesis_settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("patient")


def level_of(item: pytest.Item) -> str:
    """Return the level that a test is marked with, else the one that follows from the fixtures that it uses."""
    for level in LEVELS:
        if item.get_closest_marker(level) is not None:
            return level
    fixtures = {*getattr(item, "fixturenames", ())}
    if fixtures & {"browser", "installation"}:
        return "e2e"
    uses_database = item.get_closest_marker("django_db") is not None or fixtures & {"db", "transactional_db"}
    return "integration" if uses_database else "unit"


# First, so that -m finds the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    measured = set()
    for item in items:
        item.add_marker(level_of(item))
        # Coverage makes tests half as slow again, pure ones several times. Further cases of a test, and those that
        # Hypothesis makes up, go over the lines that the first case has covered.
        function = item.nodeid.partition("[")[0]
        if function in measured or is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("no_cover")
        measured.add(function)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Replace lone surrogates, which tests log on purpose, by question marks: xdist cannot transfer them."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    return report


def pytest_configure(config: pytest.Config) -> None:
    databases.BLOCKER.append(config.stash[blocking_manager_key])


def pytest_unconfigure() -> None:
    databases.SERVER.close()


def empty_tables(case: TransactionTestCase) -> None:
    """Empty all tables after a test that committed, except content types and permissions, which only migrations change.

    Django would recreate both for every app, which takes longer than emptying all tables. Tables are truncated, because
    dead rows would change the query plans that tests check.
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


@pytest.fixture(autouse=True)
def default_preferences() -> Iterator[None]:
    """Deactivate the language and time zone of the last request's user, which only another request would."""
    yield
    timezone.deactivate()
    translation.deactivate()


@pytest.fixture(scope="session")
def django_db_setup() -> Iterator[None]:
    """Give this worker its database, in place of the one that pytest-django would migrate for it."""
    with databases.own_database(migrated=True) as url:
        name = databases.database_name(url)
        settings.DATABASES["default"]["NAME"] = connections["default"].settings_dict["NAME"] = name
        yield
        connections["default"].close()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Yield an installation of real processes with its own database, for tests from outside."""
    with live_installation(tmp_path_factory.mktemp("installation")) as made:
        yield made


@pytest.fixture
def server_dir() -> Iterator[Path]:
    """Yield a directory for an embedded PostgreSQL.

    Not below pytest's directory: root's server runs as another account, which loses its access as soon as another
    pytest starts, because that removes all permissions of others from the directory they share.
    """
    with tempfile.TemporaryDirectory(prefix="server-") as directory:
        yield Path(directory)


@pytest.fixture
def environment(db: None) -> Environment:
    return make_environment()


@pytest.fixture
def made(db: None) -> NewProject:
    """A project with one environment and a key."""
    return create_project("shop", environment="prod", endpoint=ENDPOINT)


@pytest.fixture
def pipeline(made: NewProject) -> Pipeline:
    return Pipeline(made.api_key)
