"""The database engine (`base.py`, loaded by Django by this package's name), and statements that PostgreSQL prepares."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from django.db import Error, connection

from common.database_state import DatabaseState, state_of

VALUE = re.compile(r"%\((\w+)\)s")


def prepared(statement: str, values: Mapping[str, str], *, repeatable: bool = False) -> list[tuple[Any, ...]]:
    """Run a statement whose values are sent apart from it, and which PostgreSQL parses once per connection.

    For the few statements of which there are many. All values are texts, with a cast where another type is meant
    (`%(name)s::bigint`): of numbers, psycopg names the type by their size, and each would be another statement.

    Args:
        repeatable: run it again, over a new connection, if the connection turns out to be lost: for a statement that
            only reads, outside of transactions.

    Returns: the rows.
    """
    text, names = numbered(statement)
    given = [values[name] for name in names]
    try:
        return run(text, given)
    except Error as error:
        if not repeatable or not is_lost(error) or connection.in_atomic_block:
            raise
    connection.close()
    return run(text, given)


def run(text: str, values: list[str]) -> list[tuple[Any, ...]]:
    with cast("Any", connection).prepared_cursor() as cursor:
        cursor.execute(text, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


@lru_cache
def numbered(statement: str) -> tuple[str, list[str]]:
    """Return the statement in PostgreSQL's own form ($1), and the names of its values in this order."""
    names = list(dict.fromkeys(VALUE.findall(statement)))
    return VALUE.sub(lambda found: f"${names.index(found[1]) + 1}::text", statement), names


def is_lost(error: Exception) -> bool:
    """Return whether the error means that the connection, which was open when the statement began, is not any more."""
    return connection.connection is not None and state_of(error) == DatabaseState.AWAY
