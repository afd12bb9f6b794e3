"""What an error of the database means: it is away, cannot be written, or is busy. By SQLSTATE, never by text."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import psycopg
import structlog
from django.db import DatabaseError, Error, InterfaceError, OperationalError, connection

logger = structlog.get_logger(__name__)


class DatabaseState(StrEnum):
    """A state of the database in which a statement failed that may succeed later.

    away: no connection; read_only: it can be read (a standby, default_transaction_read_only, revoked privileges);
    full: it can be read, and written only where no file grows; busy: a lock, a time limit, memory or a deadlock.
    """

    AWAY = "away"
    READ_ONLY = "read_only"
    FULL = "full"
    BUSY = "busy"


# By SQLSTATE, else by its class (the first two characters): https://www.postgresql.org/docs/current/errcodes-appendix.html
STATES = {
    "0A000": DatabaseState.READ_ONLY,  # unlogged tables on a standby, which refuses also to read them
    "08": DatabaseState.AWAY,  # connection exception
    "25006": DatabaseState.READ_ONLY,  # read-only transaction, also on a standby
    "25P03": DatabaseState.AWAY,  # the server ended an idle, or too long, transaction and its connection
    "25P04": DatabaseState.AWAY,
    "40": DatabaseState.BUSY,  # deadlock, serialization failure
    # A file system that became read-only, and hosts that revoke privileges of databases that grew too large.
    "42501": DatabaseState.READ_ONLY,
    "53": DatabaseState.BUSY,  # memory, connections
    "53100": DatabaseState.FULL,
    "55": DatabaseState.BUSY,  # lock not available, object in use
    "57": DatabaseState.AWAY,  # shut down, crashed, starting, dropped
    "57014": DatabaseState.BUSY,  # statement timeout
    "58": DatabaseState.AWAY,  # input or output failed
}
# Errors of the operating system that PostgreSQL has no code for, such as an exceeded quota, have this one; those that
# come from its own files (of storage/) are about files that cannot be written.
UNNAMED = "XX000"
STORAGE = ("md.c", "fd.c", "buffile.c", "slru.c", "copydir.c")
# Limits of PostgreSQL, such as the size of an index entry: the same statement will fail again.
NEVER = "54"
CANNOT_WRITE = frozenset({DatabaseState.READ_ONLY, DatabaseState.FULL})
# For so long after a write that found it full the database counts as full (`found_full`).
FULL_FOR_S = 5.0
_full_at: float | None = None


def sqlstate_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error of Django or psycopg, "" without one: then the server did not answer."""
    return getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None) or ""


def source_of(error: BaseException) -> str:
    """Return the file of PostgreSQL's source that has reported an error, "" if it is unknown."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    return (isinstance(cause, psycopg.Error) and cause.diag.source_file) or ""


def state_of(error: BaseException | None) -> DatabaseState | None:
    """Return the state of the database that caused this error; None: the statement itself is at fault, or no database.

    If in doubt it is away: a connection that was terminated fails on every statement, with and without SQLSTATE.
    """
    if not isinstance(error, (Error, psycopg.Error)):
        return None
    code = sqlstate_of(error)
    if code == UNNAMED and source_of(error) in STORAGE:
        return DatabaseState.FULL
    known = STATES.get(code) or STATES.get(code[:2])
    if known is not None:
        return known
    lost = isinstance(error, (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError))
    return DatabaseState.AWAY if lost and not code.startswith(NEVER) else None


def cannot_write(error: BaseException | None) -> bool:
    """Return whether the database can be read and not written."""
    return state_of(error) in CANNOT_WRITE


def note_refusal(state: DatabaseState) -> None:
    """Draw the consequences of a state in which a write was refused."""
    global _full_at  # noqa: PLW0603  (one observation per process)
    if state is DatabaseState.FULL:
        _full_at = time.monotonic()
    if state is DatabaseState.READ_ONLY:
        # After a failover the same name may lead to another server: connect anew after this request.
        connection.close_at = 0.0


def found_full() -> bool:
    """Return whether this process has found the database full within the last FULL_FOR_S."""
    return _full_at is not None and time.monotonic() - _full_at < FULL_FOR_S


@contextmanager
def bookkeeping(what: str) -> Iterator[None]:
    """Skip what is written inside, while the database cannot write: for records that no answer depends on.

    For statements with a transaction of their own: the error ends the transaction that it is in.
    """
    try:
        yield
    except DatabaseError as error:
        state = state_of(error)
        if state not in CANNOT_WRITE:
            raise
        note_refusal(state)
        logger.warning("bookkeeping_skipped", what=what, state=state.value)
