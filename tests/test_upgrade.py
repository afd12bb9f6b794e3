"""What docs/operating.md says of upgrades: the version before works on while the migrations run, and afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.db import connection, connections, transaction
from django.db.migrations.executor import MigrationExecutor

from tests.processes import wait_for

BEFORE = [("deployments", "0003_ends_without_finish"), ("analysis", "0002_policies_and_feedback")]
INDEXES = {"deployments_observed": "deployments", "verdicts_by_name": "deployment_verdicts"}

VALID = "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indisvalid AND relname = ANY(%s)"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"


def migrate_to_the_newest() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


@pytest.fixture
def before_the_indexes(transactional_db: None) -> Iterator[None]:
    MigrationExecutor(connection).migrate(BEFORE)
    yield
    migrate_to_the_newest()


def valid() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(VALID, [list(INDEXES)])
        return {row[0] for row in cursor.fetchall()}


def test_indexes_are_made_again_where_an_attempt_was_interrupted(before_the_indexes: None) -> None:
    with connection.cursor() as cursor:
        for name, table in INDEXES.items():
            cursor.execute(f"CREATE INDEX {name} ON {table} (id)")
            cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [name])
    assert valid() == set()
    migrate_to_the_newest()
    assert valid() == set(INDEXES)


@pytest.mark.parametrize("table", INDEXES.values())
def test_while_an_index_is_made_others_write(before_the_indexes: None, table: str) -> None:
    def migrate() -> None:
        try:
            migrate_to_the_newest()
        finally:
            connections.close_all()

    migration = threading.Thread(target=migrate)
    writer = connections.create_connection("default")
    # Whoever is writing holds up the index, so that we can look; a plain one would hold up all others in turn.
    with transaction.atomic(), connection.cursor() as cursor, writer.cursor() as other:
        cursor.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        migration.start()
        wait_for(lambda: other.execute(WAITING).fetchone()[0], "the migration", timeout_s=20)
        other.execute("SET lock_timeout = '5s'")
        other.execute(f"DELETE FROM {table} WHERE false")  # noqa: S608  (a name from above)
    writer.close()
    migration.join()
    assert valid() == set(INDEXES)
