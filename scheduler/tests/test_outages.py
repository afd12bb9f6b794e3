import asyncio

import psycopg
import pytest
from django.db import OperationalError, connections

from scheduler.database import DatabaseAway, DatabaseThread, is_outage


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (DatabaseAway("gone"), True),
        (OperationalError("connection refused"), True),
        *((psycopg.errors.lookup(code)("refused"), True) for code in ("25006", "53100", "57P01")),
        # The work is at fault, or one table: retries are counted, and the job fails.
        *((psycopg.errors.lookup(code)("refused"), False) for code in ("42501", "0A000", "57014", "40P01", "23505")),
        (ZeroDivisionError(), False),
    ],
)
def test_only_what_stops_all_work_is_an_outage(error: Exception, outage: bool) -> None:
    assert is_outage(error) is outage


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("code", "opened"), [("25006", 2), ("42501", 1), ("53100", 1), ("23505", 1)])
def test_only_a_server_that_cannot_be_written_is_connected_to_anew(code: str, opened: int) -> None:
    database = DatabaseThread()

    def refused() -> None:
        raise psycopg.errors.lookup(code)("refused")

    async def scenario() -> None:
        with pytest.raises(psycopg.Error, match="refused"):
            await database(refused)
        await database(int)
        await database(connections.close_all)

    asyncio.run(scenario())
    database.shutdown()
    assert database.connections == opened
