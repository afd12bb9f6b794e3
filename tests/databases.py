"""Databases for tests: the server, one migrated template for every state of the migrations, and copies of it."""

import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
import pytest_django
from django.conf import settings
from django.db import connections
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from seqpulse.devserver import embedded
from seqpulse.devserver.embedded_process import alive
from tests.system_tools import output_of

ROOT: Path = settings.BASE_DIR
# Closed at the end of the run (conftest.py).
SERVER = ExitStack()
# pytest-django's, which lets only marked tests use Django's connection (conftest.py).
BLOCKER: list[pytest_django.DjangoDbBlocker] = []
# Whatever changes what `migrate` leaves behind: tables, content types, permissions.
MIGRATED_FROM = ("*/migrations/*.py", "*/models.py", "*/models/*.py", "requirements/base.txt")
# One process at a time looks for the template and makes it.
TEMPLATE_LOCK = 0x74656D706C617465


@cache
def start_server() -> None:
    """Start the embedded server, unless DATABASE_URL names another; stop it at the end if no other run uses it."""
    if not settings.EMBEDDED_DATABASE:
        return
    is_alone = SERVER.enter_context(embedded.in_use(settings.SEQPULSE_DATA_DIR))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQPULSE_EMBEDDED_FAST", "1")
        embedded.start(settings.SEQPULSE_DATA_DIR)
    drop_left_over()
    SERVER.callback(lambda: is_alone() and embedded.stop(settings.SEQPULSE_DATA_DIR))


def drop_left_over() -> None:
    """Drop the databases of runs that were killed."""
    with psycopg.connect(server_url("postgres"), autocommit=True) as admin:
        for name, pid in admin.execute(
            r"SELECT datname, split_part(datname, '_', 2) FROM pg_database WHERE datname ~ '^live_\d+_'"
        ):
            if not alive(int(pid)):
                execute(admin, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def server_url(database: str) -> str:
    """Return the address of another database on the server that the tests use."""
    if settings.EMBEDDED_DATABASE:
        return embedded.url(settings.SEQPULSE_DATA_DIR).replace("@/seqpulse?", f"@/{database}?")
    found = {name: str(value) for name, value in settings.DATABASES["default"].items()}
    login = f"{quote(found['USER'], safe='')}:{quote(found['PASSWORD'], safe='')}@"
    return f"postgresql://{login}{found['HOST']}:{found['PORT'] or 5432}/{database}"


def database_name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


@contextmanager
def own_database(*, migrated: bool = False) -> Iterator[str]:
    """Yield the address of a new database, empty or migrated. It is dropped afterwards, also where it is in use."""
    start_server()
    with psycopg.connect(server_url("postgres"), autocommit=True) as admin:
        name = f"live_{os.getpid()}_{secrets.token_hex(6)}"
        if migrated:
            copy_template(admin, name)
        else:
            execute(admin, "CREATE DATABASE {}", name)
        try:
            yield server_url(name)
        finally:
            execute(admin, "DROP DATABASE {} WITH (FORCE)", name)


@contextmanager
def connected_to(url: str) -> Iterator[None]:
    """Have Django's default connection lead to this database: what a management command does, without its process."""
    given = conninfo_to_dict(url)
    usual = connections["default"]
    connections["default"] = connection = usual.copy()
    for name, key in {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}.items():
        connection.settings_dict[name] = given.get(key) or ""
    try:
        with BLOCKER[0].unblock():
            yield
    finally:
        connection.close()
        connections["default"] = usual


def end_connection() -> int:
    """End the connection of this thread on the server, as a failover does; return the id of its server process."""
    connection = connections["default"]
    connection.ensure_connection()
    pid: int = connection.connection.info.backend_pid
    with psycopg.connect(server_url("postgres")) as admin:
        assert admin.execute("SELECT pg_terminate_backend(%s, 10000)", [pid]).fetchone() == (True,)
    return pid


def execute(admin: psycopg.Connection[Any], statement: str, *names: str) -> None:
    admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]


def copy_template(admin: psycopg.Connection[Any], name: str) -> None:
    """Copy the template, which takes a tenth of a second. It is made anew after a change, and once a day.

    Once a day, because migrations make the partitions of the days to come.
    """
    template = f"migrated_{template_key()}"
    admin.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
    found = admin.execute(r"SELECT datname FROM pg_database WHERE datname LIKE 'migrated\_%'").fetchall()
    if (template,) not in found:
        for (old,) in found:
            execute(admin, "DROP DATABASE {}", old)
        unfinished = f"{template}_{secrets.token_hex(3)}"
        execute(admin, "CREATE DATABASE {}", unfinished)
        migrate(server_url(unfinished))
        execute(admin, "ALTER DATABASE {} RENAME TO {}", unfinished, template)
        # A database in use cannot be copied, and autovacuum would use it.
        execute(admin, "ALTER DATABASE {} ALLOW_CONNECTIONS false", template)
    execute(admin, "CREATE DATABASE {} TEMPLATE {}", name, template)
    admin.execute("SELECT pg_advisory_unlock(%s)", [TEMPLATE_LOCK])


@cache
def template_key() -> str:
    digest = hashlib.sha256(f"{datetime.now(UTC):%Y%m%d}".encode())
    for path in sorted(path for pattern in MIGRATED_FROM for path in ROOT.glob(pattern)):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def migrate(url: str) -> None:
    """Apply all migrations, in a process: Django's connection of this one may be in a transaction."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "seqpulse.settings_test", "DATABASE_URL": url}
    output_of(sys.executable, "manage.py", "migrate", "--verbosity", "0", env=env)
