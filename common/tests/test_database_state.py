from collections.abc import Callable

import psycopg
import pytest
from django.db import DataError, IntegrityError, InterfaceError, InternalError, OperationalError, ProgrammingError
from django.db.utils import NotSupportedError

from common import database_state
from common.database_state import DatabaseState, bookkeeping, cannot_write, found_full, note_refusal, state_of

AWAY, READ_ONLY, FULL, BUSY = DatabaseState


def django_error(code: str) -> Exception:
    """Return an error as Django raises it: of a class of its own, caused by that of psycopg."""
    cause = psycopg.errors.lookup(code)("refused")
    kinds = (OperationalError, ProgrammingError, InternalError, DataError, IntegrityError, NotSupportedError)
    kind = next(kind for kind in kinds if isinstance(cause, getattr(psycopg, kind.__name__)))
    error = kind("refused")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        ("25006 0A000 42501", READ_ONLY),
        ("53100", FULL),
        ("53000 53200 53300 53400 55P03 55006 57014 40001 40P01", BUSY),
        ("08000 08003 08006 57P01 57P02 57P03 57P04 57P05 25P03 25P04 58030", AWAY),
        # The statement is at fault: the same one fails again.
        ("23505 22001 42601 42P01 54000 25P02 XX000 XX001 P0001", None),
    ],
)
def test_the_state_follows_from_the_code(codes: str, state: DatabaseState | None) -> None:
    for code in codes.split():
        assert state_of(django_error(code)) is state, code
        assert state_of(psycopg.errors.lookup(code)("refused")) is state, code
        assert cannot_write(django_error(code)) == (state in (READ_ONLY, FULL))


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (lambda: OperationalError("connection refused"), AWAY),
        (lambda: psycopg.OperationalError("the connection is closed"), AWAY),
        (lambda: InterfaceError("connection already closed"), AWAY),
        (lambda: ProgrammingError("no results to fetch"), None),
        (lambda: ConnectionRefusedError("of a program that is not the database"), None),
        (lambda: None, None),
    ],
)
def test_without_a_code_only_lost_connections_count(
    make: Callable[[], Exception | None], state: DatabaseState | None
) -> None:
    assert state_of(make()) is state


@pytest.mark.parametrize("code", ["25006", "53100"])
def test_bookkeeping_is_skipped_only_while_the_database_cannot_write(code: str) -> None:
    def refuse(error: Exception) -> None:
        with bookkeeping("visits"):
            raise error

    refuse(django_error(code))
    for raised in (django_error("57P01"), django_error("23505"), django_error("57014"), ZeroDivisionError()):
        with pytest.raises(type(raised)):
            refuse(raised)


def test_a_full_disk_is_remembered_for_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("common.database_state.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(database_state, "_full_at", None)
    for state in (BUSY, READ_ONLY):
        note_refusal(state)
        assert not found_full()
    note_refusal(FULL)
    assert found_full()
    clock[0] += database_state.FULL_FOR_S
    assert not found_full()
