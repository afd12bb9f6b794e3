"""The thread that runs all queries about jobs, and the classification of its errors."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from common.database_state import DatabaseState, sqlstate_of, state_of

T = TypeVar("T")

# A poller frozen or disconnected in a transaction must not keep its locks: others work on the same rows.
SESSION = "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '10s'; SET statement_timeout = '60s'"
# Threads that run handlers may wait and compute for long, but not in a transaction.
WORKER_PREFIX = "worker"
WORKER_SESSION = "SET idle_in_transaction_session_timeout = '30s'"


class DatabaseAway(Exception):
    """The connection is lost or cannot be opened: retry. The statement may have been executed."""


# While the database is in one of these states no work succeeds, whatever it is: wait, and count no attempt.
OUTAGES = frozenset({DatabaseState.AWAY, DatabaseState.READ_ONLY, DatabaseState.FULL})
# Privileges and features that are missing may be of one table: then the job fails, and is seen to fail.
OF_ONE_TABLE = ("42501", "0A000")


def is_outage(error: BaseException) -> bool:
    """Return whether the database is the reason for an error, and not the work."""
    if isinstance(error, DatabaseAway):
        return True
    return state_of(error) in OUTAGES and sqlstate_of(error) not in OF_ONE_TABLE


def connection_lost(error: Exception) -> bool:
    """Return whether the error means that this thread's connection is lost, not only that a statement was refused."""
    state = state_of(error)
    closed = connection.connection is None or connection.connection.closed
    return state is DatabaseState.AWAY or (state is not None and closed)


def limit_worker(sender: object, connection: BaseDatabaseWrapper, **_: object) -> None:
    """Set the limits of connections opened by worker threads; receives connection_created."""
    if threading.current_thread().name.startswith(WORKER_PREFIX):
        with connection.cursor() as cursor:
            cursor.execute(WORKER_SESSION)


class DatabaseThread:
    """Run functions one after another on one thread, with one connection that is reopened when lost.

    connections: how many were opened so far. A new one may lead to another server, or to one that has lost what it had
    committed last.
    """

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="database")
        self.connections = 0

    async def __call__(self, work: Callable[..., T], *args: object) -> T:
        """Run `work` on the thread and return its result.

        Raises: DatabaseAway, and everything that `work` raises.
        """
        return await asyncio.get_running_loop().run_in_executor(self.executor, self._call, work, args)

    def _call(self, work: Callable[..., T], args: tuple[object, ...]) -> T:
        try:
            if connection.connection is None:
                with connection.cursor() as cursor:
                    cursor.execute(SESSION)
                self.connections += 1
            return work(*args)
        except Exception as error:
            lost = connection_lost(error)
            # A server that can only be read may have been replaced by another behind the same name.
            if lost or (state_of(error) is DatabaseState.READ_ONLY and is_outage(error)):
                connection.close()
            if lost:
                raise DatabaseAway(str(error).strip()) from error
            raise

    def shutdown(self) -> None:
        """End the thread without waiting for a hanging call."""
        self.executor.shutdown(wait=False)
