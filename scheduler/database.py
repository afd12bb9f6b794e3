"""The thread that runs all queries about jobs, and the classification of its errors."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")

# A poller frozen or disconnected in a transaction must not keep its locks: others work on the same rows.
SESSION = "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '10s'; SET statement_timeout = '60s'"
# Threads that run handlers may wait and compute for long, but not in a transaction.
WORKER_PREFIX = "worker"
WORKER_SESSION = "SET idle_in_transaction_session_timeout = '30s'"


class DatabaseAway(Exception):
    """The connection is lost or cannot be opened: retry. The statement may have been executed."""


# OperationalErrors that refuse a statement and leave the connection usable (PostgreSQL's SQLSTATE codes): deadlock,
# serialization failure, disk full, out of memory, lock timeout, statement timeout.
STATEMENT_REFUSED = frozenset({"40P01", "40001", "53100", "53200", "55P03", "57014"})


def connection_lost(error: Exception) -> bool:
    """Return whether the error means that this thread's connection is lost, not only that a statement was refused.

    If in doubt it is lost: a terminated connection stays "open" for a while and fails on every statement.
    """
    if not isinstance(error, (OperationalError, InterfaceError)):
        return False
    if connection.connection is None or connection.connection.closed:
        return True
    return getattr(error.__cause__, "sqlstate", None) not in STATEMENT_REFUSED


def limit_worker(sender: object, connection: BaseDatabaseWrapper, **_: object) -> None:
    """Set the limits of connections opened by worker threads; receives connection_created."""
    if threading.current_thread().name.startswith(WORKER_PREFIX):
        with connection.cursor() as cursor:
            cursor.execute(WORKER_SESSION)


class DatabaseThread:
    """Run functions one after another on one thread, with one connection that is reopened when lost."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="database")

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
            return work(*args)
        except Exception as error:
            if not connection_lost(error):
                raise
            connection.close()
            raise DatabaseAway(str(error).strip()) from error

    def shutdown(self) -> None:
        """End the thread without waiting for a hanging call."""
        self.executor.shutdown(wait=False)
