"""Django's engine for PostgreSQL, with django-prometheus' counters, prepared statements and a free health check."""

import re
import select
from typing import Any

import psycopg
from django.db.backends.postgresql.operations import DatabaseOperations
from django.db.backends.utils import CursorWrapper
from django_prometheus.db.backends.postgresql import base
from django_prometheus.db.common import ExportingCursorWrapper
from psycopg.sql import Literal

# psycopg prepares a statement when it comes for the sixth time on a connection.
PREPARE_AFTER = 5


PLACE = re.compile(r"\$(\d+)")


class Operations(DatabaseOperations):
    """PostgreSQL's, which also show statements whose values are sent apart, for tests that look at statements."""

    def last_executed_query(self, cursor: Any, sql: str, params: Any) -> str:
        if not isinstance(cursor, psycopg.RawCursor):
            return super().last_executed_query(cursor, sql, params)
        return PLACE.sub(lambda place: Literal(params[int(place[1]) - 1]).as_string(), sql)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL.

    OPTIONS["prepare"]: "on", "off", or "auto": unless a pooler stands between, which may send each transaction to
    another server process.
    """

    ops_class = Operations

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.preparing_cursor = ExportingCursorWrapper(psycopg.RawCursor, self.alias, self.vendor)

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        params.pop("prepare", None)
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] = super().get_new_connection(conn_params)
        how = self.settings_dict["OPTIONS"].get("prepare", "off")
        if how == "on" or (how == "auto" and not is_pooled(connection)):
            prepare_statements(connection)
        return connection

    def prepared_cursor(self) -> CursorWrapper:
        """Return a cursor that sends values apart from the statement, so that PostgreSQL can prepare it."""
        self.close_if_health_check_failed()
        self.ensure_connection()
        with self.wrap_database_errors:
            cursor: CursorWrapper = self._prepare_cursor(self.preparing_cursor(self.connection))
            return cursor

    def close_if_health_check_failed(self) -> None:
        """Ask the server whether the connection works only where something has arrived on it unasked.

        That is its end, or the reason for it. A round trip before each request cost a tenth of a call of the API.
        """
        if self.connection is not None and self.health_check_enabled and not self.health_check_done:
            self.health_check_done: bool = is_silent(self.connection)
        super().close_if_health_check_failed()


def prepare_statements(connection: psycopg.Connection[Any]) -> None:
    """Have frequent statements prepared, with plans for any values.

    PostgreSQL would choose between these and a plan for the values of each call by estimates, in which a value that
    leaves a branch of the statement out always wins; planning takes four times as long as running.
    """
    connection.prepare_threshold = PREPARE_AFTER
    connection.execute("SET plan_cache_mode = force_generic_plan")
    if not connection.autocommit:
        connection.commit()


def is_silent(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the connection is open, and nothing has arrived on it."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Return whether a pooler such as pgbouncer answers: it gives a number of its own for the server process."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    if not connection.autocommit:
        connection.rollback()
    return row != (connection.info.backend_pid,)
