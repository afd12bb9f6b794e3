"""`make run`: the web server and one poller in the foreground, with everything they need.

Starts the embedded PostgreSQL unless DATABASE_URL is set, migrates, collects the static files, then runs gunicorn and
`manage.py run_poller` as child processes. SIGTERM and Ctrl-C stop both. Progress goes to standard error, the children's
logs to standard output.
"""

import hashlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import django
import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections
from django.db.migrations.executor import MigrationExecutor

from seqpulse.devserver import embedded, keys
from seqpulse.devserver.preparing import begin
from seqpulse.devserver.processes import Children, Stopped, stop_on_signals
from seqpulse.environment import Environment

BASE_DIR = Path(__file__).resolve().parents[2]
WEB = [sys.executable, "-m", "gunicorn", "-c", "python:seqpulse.gunicorn_config", "seqpulse.wsgi:application"]
POLLER = [sys.executable, "manage.py", "run_poller"]
LOCAL = ("127.0.0.1", "0.0.0.0", "::")  # noqa: S104  (shown as localhost)
NO_ACCOUNT = "No account yet. In another terminal: .venv/bin/python manage.py createsuperuser"
LOOK_EVERY_S = 0.2
# Pauses before a poller is restarted; they start over once it has run for RAN_WELL_AFTER_S.
RESTART_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
RAN_WELL_AFTER_S = 60.0
LINGER_S = 2.0
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class RunError(Exception):
    """SeqPulse cannot run here; the text gives the reason and the remedy."""


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def data_dir() -> Path:
    """Return the data directory without loading the settings."""
    return Environment().directory("SEQPULSE_DATA_DIR", BASE_DIR / "var")


@contextmanager
def database(directory: Path) -> Iterator[None]:
    """Run the embedded server unless DATABASE_URL is set; stop it if it was started here. Raises RunError."""
    if Environment().text("DATABASE_URL"):
        yield
        return
    say(f"Database: embedded PostgreSQL in {directory}")
    with ExitStack() as stack:
        try:
            is_alone = stack.enter_context(embedded.in_use(directory))
            started = embedded.start(directory)
        except embedded.EmbeddedError as error:
            raise RunError(str(error)) from error
        try:
            yield
        finally:
            if started:
                stop_database(directory, is_alone)


def stop_database(directory: Path, is_alone: Callable[[], bool]) -> None:
    """Stop the embedded server unless others use it."""
    if is_alone() and not used_by_others(directory):
        embedded.stop(directory)
    else:
        say("Others still use the embedded PostgreSQL. To stop it: python -m seqpulse.devserver.embedded stop")


def used_by_others(directory: Path) -> bool:
    """Return whether other clients are connected to the embedded server."""
    deadline = time.monotonic() + LINGER_S
    while True:
        try:
            with psycopg.connect(embedded.url(directory), connect_timeout=5) as link:
                row = link.execute(OTHERS).fetchone()
        except psycopg.Error:
            return False
        # The connections of children that have just ended may still be closing.
        if not row or not row[0] or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return bool(row and row[0])


@contextmanager
def prepared(directory: Path) -> Iterator[None]:
    """Run the database, and prepare everything that the first request needs. Raises RunError."""
    try:
        lock = begin(directory)
    except OSError as error:
        raise RunError(f"The data directory {directory} cannot be used: {error}") from error
    with ExitStack() as stack:
        with lock:
            stack.enter_context(database(directory))
            prepare(directory)
        yield


def prepare(directory: Path) -> None:
    """Prepare keys, settings, migrations and static files, and run the system checks. Raises RunError."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")
    if any(not Environment().text(name) for name in keys.NAMES):
        for name, value in keys.generated_keys(directory).items():
            if not Environment().text(name):
                os.environ[name] = value
    try:
        django.setup()
        problems = [issue for issue in run_checks() if issue.level >= ERROR]
        if problems:
            raise RunError("\n".join(f"{issue.msg} ({issue.id})" for issue in problems))
        migrate()
        collect_static_files()
    except ImproperlyConfigured as error:
        raise RunError(str(error)) from error
    finally:
        connections.close_all()


def migrate() -> None:
    try:
        executor = MigrationExecutor(connection)
        if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
            say(f"Migrations: applying {len(plan)}")
        call_command("migrate", interactive=False, verbosity=0)
    except OperationalError as error:
        raise RunError(f"The database does not answer: {str(error).strip()}") from error
    except CommandError as error:
        raise RunError(str(error)) from error


def collect_static_files() -> None:
    """Run collectstatic if a file has changed since the last run."""
    if settings.DEBUG:
        return
    wanted, stamp = static_fingerprint(), Path(settings.STATIC_ROOT) / ".collected"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("Static files: collecting")
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(wanted)


def static_fingerprint() -> str:
    """Return a hash that changes with every static file that is added, removed or written."""
    from django.contrib.staticfiles.finders import get_finders  # noqa: PLC0415  (needs the apps)

    digest = hashlib.sha256(settings.STORAGES["staticfiles"]["BACKEND"].encode())
    for finder in get_finders():
        for path, storage in sorted(finder.list([]), key=lambda item: str(item[0])):
            status = Path(storage.path(path)).stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def refuse_taken_port(host: str, port: int) -> None:
    """Raise RunError if the port is in use: gunicorn would keep retrying."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RunError(
                f"Port {port} of {host} cannot be used: {error.strerror}. Choose another one: PORT={port + 1} make run"
            ) from error


def answers(host: str, port: int) -> bool:
    """Return whether a web server answers there, with any status."""
    connection = http.client.HTTPConnection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, timeout=1)  # noqa: S104
    try:
        connection.request("GET", "/health/live")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def mention_a_missing_account() -> None:
    """Say how to create the first account if there is none."""
    try:
        if not get_user_model().objects.exists():
            say(NO_ACCOUNT)
    finally:
        connections.close_all()


class Supervisor:
    """Web server and poller. log_dir: directory of their logs; None: inherit our output."""

    def __init__(self, children: Children, env: dict[str, str], log_dir: Path | None = None) -> None:
        self.children = children
        self.env = env
        self.log_dir = log_dir
        self.restarts = 0
        self.next_start: float | None = None

    def start(self) -> None:
        self.web = self._start("web", WEB)
        self._start_poller()

    def look(self) -> int | None:
        """Return the web server's exit code (never 0) once it has ended, else None. Restart a poller that has ended."""
        code = self.web.poll()
        if code is not None:
            say(f"The web server has ended by itself (exit code {code}).")
            return code if code > 0 else 1
        if self.poller.poll() is not None:
            self._poller_ended()
        return None

    def run(self) -> int:
        """Restart the poller as needed until the web server has ended; return its exit code."""
        while (code := self.look()) is None:
            time.sleep(LOOK_EVERY_S)
        return code

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        return self.children.start(name, command, env=self.env, cwd=BASE_DIR, log_dir=self.log_dir)

    def _start_poller(self) -> None:
        self.poller = self._start("poller", POLLER)
        self.started_at = time.monotonic()
        self.next_start = None

    def _poller_ended(self) -> None:
        """Schedule the restart of a poller that has ended, and restart it when the pause is over."""
        now = time.monotonic()
        if self.next_start is None:
            if now - self.started_at > RAN_WELL_AFTER_S:
                self.restarts = 0
            pause = RESTART_PAUSES_S[min(self.restarts, len(RESTART_PAUSES_S) - 1)]
            self.restarts += 1
            self.next_start = now + pause
            say(f"The poller has ended by itself (exit code {self.poller.returncode}); the next starts in {pause:g} s.")
        elif now >= self.next_start:
            self._start_poller()


def serve() -> int:
    """Run everything, from starting the database to the end of the last child. Return the exit code.

    Raises RunError, Stopped.
    """
    directory = data_dir()
    with prepared(directory):
        host, port = settings.SEQPULSE_BIND, settings.SEQPULSE_PORT
        refuse_taken_port(host, port)
        children = Children()
        try:
            say("Web server and poller: starting")
            supervisor = Supervisor(children, dict(os.environ))
            supervisor.start()
            while (code := supervisor.look()) is None and not answers(host, port):
                time.sleep(LOOK_EVERY_S)
            if code is None:
                mention_a_missing_account()
                say(f"Ready: http://{'localhost' if host in LOCAL else host}:{port}  (Ctrl-C stops)")
                code = supervisor.run()
            return code
        finally:
            children.stop()


def main() -> int:
    stop_on_signals()
    try:
        return serve()
    except Stopped as stopped:
        say(f"Stopped by {stopped}.")
        return 0
    except RunError as error:
        say(str(error))
        return 1
