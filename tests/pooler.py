"""A connection pooler in front of a database of the tests."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from tests.databases import database_name
from tests.processes import wait_for
from tests.system_tools import require


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
