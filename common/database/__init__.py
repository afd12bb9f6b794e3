"""The database engine (`base.py`, loaded by Django by this package's name), and statements that PostgreSQL prepares."""

from collections.abc import Mapping
from typing import Any, cast

from django.db import connection


def prepared(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement whose values are sent apart from it, and which PostgreSQL parses once per connection.

    For the few statements of which there are many: they have one text, and a cast (`%(name)s::bigint`) at each value,
    because PostgreSQL would guess other types for other values. Give numbers as text: psycopg names their type by size,
    and PostgreSQL would prepare the statement for each.

    Returns: the rows.
    """
    with cast("Any", connection).prepared_cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
