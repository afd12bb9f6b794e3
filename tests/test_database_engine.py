"""The engine's prepared statements, and what it does about connections that ended."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from django.db import connection
from django.test import Client
from psycopg.conninfo import conninfo_to_dict

from common.database import prepared
from common.database.base import PREPARE_AFTER
from projects.tests.factories import make_api_key
from tests.databases import connected_to, database_name, own_database
from tests.processes import wait_for
from tests.system_tools import require

STATEMENT = "SELECT %(number)s::bigint + 1"


def run_often() -> None:
    for number in range(PREPARE_AFTER + 3):
        assert prepared(STATEMENT, {"number": str(number)}) == [(number + 1,)]


def prepared_on_server() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        found: int = cursor.fetchone()[0]
        return found


def test_a_frequent_statement_is_prepared_once() -> None:
    with own_database() as url, connected_to(url):
        run_often()
        assert prepared_on_server() == 1


@contextmanager
def pgbouncer(url: str, directory: Path) -> Iterator[str]:
    """Yield the address of the database behind a pgbouncer with transaction pooling."""
    server = conninfo_to_dict(url)
    host = str(server["host"])
    (directory / "ini").write_text(
        f"[databases]\n* = host={host} port={server.get('port') or 5432} user={server['user']}"
        f" password={server.get('password') or 'none'}\n"
        f"[pgbouncer]\nunix_socket_dir = {directory}\nlisten_port = 6432\nauth_type = any\npool_mode = transaction\n"
    )
    # The embedded server's socket is open to its owner only, and pgbouncer does not run as root.
    owner = Path(host if host.startswith("/") else directory).stat()
    os.chown(directory, owner.st_uid, owner.st_gid)
    command = [require("pgbouncer"), "-q", str(directory / "ini")]
    as_owner = {"user": owner.st_uid, "group": owner.st_gid} if os.getuid() == 0 else {}
    process = subprocess.Popen(command, **as_owner)  # type: ignore[call-overload]
    try:
        wait_for(lambda: answers(directory / ".s.PGSQL.6432"), "pgbouncer")
        yield f"postgresql://{server['user']}@/{database_name(url)}?host={quote(str(directory), safe='')}&port=6432"
    finally:
        process.terminate()
        process.wait(10)


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_behind_a_pooler_nothing_is_prepared(server_dir: Path) -> None:
    with own_database() as url, pgbouncer(url, server_dir) as pooled, connected_to(pooled):
        run_often()
        assert prepared_on_server() == 0


def test_a_call_after_its_connection_has_ended_is_answered_over_a_new_one() -> None:
    with own_database(migrated=True) as url, connected_to(url), psycopg.connect(url) as other:
        headers = {"X-API-Key": make_api_key()[1]}
        assert Client().get("/deployments", headers=headers).status_code == 200
        ended = connection.connection.info.backend_pid
        assert other.execute("SELECT pg_terminate_backend(%s, 10000)", [ended]).fetchone() == (True,)
        # The server does both when a request begins; the test client does not touch connections.
        connection.close_if_unusable_or_obsolete()
        connection.health_check_enabled = True  # type: ignore[attr-defined]
        assert Client().get("/deployments", headers=headers).status_code == 200
        assert connection.connection.info.backend_pid != ended
