"""The engine's prepared statements, and what it does about connections that ended."""

from pathlib import Path

from django.db import connection
from django.test import Client

from common.database import prepared
from common.database.base import PREPARE_AFTER
from projects.tests.factories import make_api_key
from tests.databases import connected_to, end_connection, own_database
from tests.pooler import pgbouncer

STATEMENT = "SELECT %(number)s::bigint + 1"


def run_often() -> None:
    for number in range(PREPARE_AFTER + 3):
        assert prepared(STATEMENT, {"number": str(number)}) == [(number + 1,)]


def plans_on_server() -> list[tuple[int, int]]:
    """Return how often each prepared statement ran by a plan for any values, and by one for its values."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements")
        found: list[tuple[int, int]] = cursor.fetchall()
        return found


def test_a_frequent_statement_is_prepared_once() -> None:
    with own_database() as url, connected_to(url):
        run_often()
        assert plans_on_server() == [(3, 0)]


def test_behind_a_pooler_nothing_is_prepared(server_dir: Path) -> None:
    with own_database() as url, pgbouncer(url, server_dir) as pooled, connected_to(pooled):
        run_often()
        assert plans_on_server() == []


def test_a_call_after_its_connection_has_ended_is_answered_over_a_new_one() -> None:
    with own_database(migrated=True) as url, connected_to(url):
        headers = {"X-API-Key": make_api_key()[1]}
        assert Client().get("/deployments", headers=headers).status_code == 200
        ended = end_connection()
        # The server does both when a request begins; the test client does not touch connections.
        connection.close_if_unusable_or_obsolete()
        connection.health_check_enabled = True  # type: ignore[attr-defined]
        assert Client().get("/deployments", headers=headers).status_code == 200
        assert connection.connection.info.backend_pid != ended
