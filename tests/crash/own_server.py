"""An installation with a PostgreSQL of its own, which tests stop, fill up and send back in time.

It is durable as in production, unlike the one of other tests: there a crash takes back what was committed.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from django.conf import settings

from seqpulse.devserver import embedded
from seqpulse.devserver.embedded_account import account_for
from seqpulse.devserver.embedded_process import alive
from tests.databases import own_database
from tests.processes import Installation, environment, wait_for
from tests.system_tools import output_of, run

# Room for the server, its write-ahead log and the work of the tests.
DISK_MB = 320
TOKEN = "watch-me"


class OwnServer:
    """The server, reached at a fixed address wherever it is, and the installation that uses it.

    on_small_disk: its files are on a disk of DISK_MB, which can be filled.
    """

    def __init__(self, root: Path, log_dir: Path, *, on_small_disk: bool) -> None:
        self.root = root
        self.on_small_disk = on_small_disk
        self.directory = root / "a"
        self.directories = [self.directory]
        embedded.start(self.directory)
        self.address = root / "at"
        self.address.symlink_to(self.directory / "postgres")
        self.url = f"postgresql://{embedded.USER}@/{embedded.DATABASE}?host={quote(str(self.address), safe='')}"
        env = environment(
            DATABASE_URL=self.url,
            SECRET_KEY=settings.SECRET_KEY,
            SEQPULSE_ENCRYPTION_KEYS=",".join(settings.SEQPULSE_ENCRYPTION_KEYS),
            SEQPULSE_OUTBOUND_ALLOW="127.0.0.0/8",
            SEQPULSE_DATA_DIR=str(log_dir / "data"),
            SEQPULSE_METRICS_TOKEN=TOKEN,
            # Static files as they are: collecting them takes seconds.
            DJANGO_SETTINGS_MODULE="seqpulse.settings_test",
            SEQPULSE_RATE_LIMITS="on",
            WEB_CONCURRENCY="1",
        )
        self.scene = Installation(self.url, env, log_dir)
        # A copy of migrated tables takes a tenth of the time that migrating takes.
        with own_database(migrated=True) as migrated:
            output_of(embedded._binary("pg_dump"), "--no-owner", "--file", str(log_dir / "tables.sql"), migrated)
        output_of(embedded._binary("psql"), "--quiet", "--file", str(log_dir / "tables.sql"), self.url)

    def execute(self, *statements: str) -> Any:
        """Execute statements on a connection that may write whatever the server's default is; return the last value."""
        with psycopg.connect(self.url, autocommit=True, options="-c default_transaction_read_only=off") as link:
            for statement in statements:
                cursor = link.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def set(self, **values: str) -> None:
        """Change settings of the running server."""
        self.execute(*(f"ALTER SYSTEM SET {name} = '{value}'" for name, value in values.items()))
        self.execute("SELECT pg_reload_conf()")

    def end(self, how: signal.Signals) -> None:
        """End the server: SIGINT is a fast shutdown, SIGQUIT an immediate one, SIGKILL a crash."""
        pid = int((self.directory / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, how)
        wait_for(lambda: not alive(pid), "the server to be gone")

    def start(self) -> None:
        embedded.start(self.directory)

    def fill(self) -> Path:
        """Fill the disk to its last block; return the file to delete."""
        ballast = self.root / "ballast"
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue
        return ballast

    def make_lagging_standby(self) -> None:
        """Start an asynchronous standby that gets nothing from now on."""
        directory = self.root / "b"
        pgdata = directory / "postgres"
        directory.mkdir()
        backup = ("--checkpoint", "fast", "--write-recovery-conf", "--no-sync", "--dbname", self.url)
        output_of(embedded._binary("pg_basebackup"), "--pgdata", str(pgdata), *backup)
        account = account_for(self.directory.joinpath("postgres").stat().st_uid)
        for path in (pgdata, *pgdata.rglob("*")):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        embedded.start(directory)
        self.directories.append(directory)
        with psycopg.connect(embedded.url(directory), autocommit=True) as link:
            link.execute("ALTER SYSTEM SET primary_conninfo = ''")
            link.execute("SELECT pg_reload_conf()")

    def lead_to(self, directory: Path) -> None:
        """Have the address lead to another server, as a failover does."""
        new = self.root / "new"
        new.symlink_to(directory / "postgres")
        new.replace(self.address)
        self.directory = directory


@contextmanager
def small_disk() -> Iterator[tuple[Path, bool]]:
    """Yield a directory, and whether it is a disk of DISK_MB: mounting one takes root."""
    # Not below pytest's directory, which closes itself to the server's account (conftest.py, server_dir).
    directory = Path(tempfile.mkdtemp(prefix="server-"))
    options = f"size={DISK_MB}m,mode=0755"
    mounted = run("mount", "-t", "tmpfs", "-o", options, "tmpfs", directory)
    try:
        yield directory, mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            output_of("umount", "--lazy", directory)
        shutil.rmtree(directory)


@contextmanager
def own_server(log_dir: Path) -> Iterator[OwnServer]:
    """Yield a server with migrated tables; end it and the installation's processes afterwards."""
    with ExitStack() as stack:
        root, on_small_disk = stack.enter_context(small_disk())
        made = OwnServer(root, log_dir, on_small_disk=on_small_disk)
        try:
            yield made
        finally:
            made.scene.children.stop()
            for directory in made.directories:
                embedded.stop(directory)
