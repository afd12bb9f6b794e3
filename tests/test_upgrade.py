"""Upgrades (docs/operating.md): the previous version works on while migrations run; old databases are refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections, migrations, models, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from common.migrations import AddIndexOnline
from seqpulse.command_line import run
from seqpulse.devserver.runner import RunError, migrate
from tests.concurrency import in_background
from tests.processes import wait_for

INDEX = "tried_by_created"
TABLES = {("analysis", "deploymentverdict"): "deployment_verdicts", ("scheduler", "scheduledjob"): "scheduled_jobs"}
COLUMNS = {"deployment_verdicts": "created_at", "scheduled_jobs": "started_at"}

VALID = "SELECT indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname = %s"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"

Upgrade = Callable[[], None]


@pytest.fixture(params=TABLES, ids=TABLES.get)
def table(request: pytest.FixtureRequest) -> str:
    return TABLES[request.param]


@pytest.fixture
def upgrade(transactional_db: None, table: str) -> Iterator[Upgrade]:
    """Applies a migration that adds an index to the table; the index is gone afterwards."""
    app, model = next(key for key, name in TABLES.items() if name == table)
    index = models.Index(fields=[COLUMNS[table]], name=INDEX)
    operations = [AddIndexOnline(model, index)]
    made = type("Migration", (migrations.Migration,), {"operations": operations, "atomic": False})("0002_next", app)

    def apply() -> None:
        with connection.schema_editor(atomic=False) as editor:
            made.apply(MigrationLoader(connection).project_state(), editor)

    yield apply
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {INDEX}")


def is_valid() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(VALID, [INDEX])
        valid: bool = cursor.fetchone()[0]
        return valid


def test_an_index_is_created_again_where_an_attempt_was_interrupted(upgrade: Upgrade, table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX {INDEX} ON {table} (id)")
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [INDEX])
    assert not is_valid()
    upgrade()
    assert is_valid()


def test_while_an_index_is_created_others_write(upgrade: Upgrade, table: str) -> None:
    writer = connections.create_connection("default")
    # An open write delays the index, so that we can look; a plain CREATE INDEX would block all other writers meanwhile.
    with transaction.atomic(), connection.cursor() as cursor, writer.cursor() as other:
        cursor.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        migration = in_background(upgrade)
        wait_for(lambda: other.execute(WAITING).fetchone()[0], "the migration", timeout_s=20)
        other.execute("SET lock_timeout = '5s'")
        other.execute(f"DELETE FROM {table} WHERE false")  # noqa: S608  (a name from above)
    writer.close()
    migration.result(20)
    assert is_valid()


@pytest.mark.django_db
@pytest.mark.parametrize(("embedded", "advice"), [(True, "remove .*"), (False, "let DATABASE_URL name another one")])
def test_a_database_of_before_the_first_release_is_refused_with_what_to_do(
    settings: Any, embedded: bool, advice: str
) -> None:
    settings.EMBEDDED_DATABASE = embedded
    MigrationRecorder(connection).record_applied("seqpulse", "0001_counters")
    with pytest.raises(RunError, match=rf"before version 0\.2\.0.* Start with an empty database: {advice}\.$"):
        migrate()


@pytest.mark.django_db
def test_other_commands_on_such_a_database_lead_to_migrate() -> None:
    MigrationRecorder(connection).record_unapplied("accounts", "0001_initial")
    with pytest.raises(SystemExit, match=r"applied before its dependency.*\n.*before version 0\.2\.0.*migrate"):
        run(["manage.py", "makemigrations", "--check"])
