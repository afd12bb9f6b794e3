import psycopg
import pytest
from django.db import OperationalError

from scheduler.database import DatabaseAway, is_outage


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
