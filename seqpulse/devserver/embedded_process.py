"""The process of an embedded PostgreSQL. Process ids are reused, so a number in a file is no proof."""

import os
import signal
import subprocess
import time
from pathlib import Path

STOP_TIMEOUT_S = 60.0


class ProcessError(Exception):
    """A server process does not stop."""


def pid_file_lines(path: Path) -> list[str]:
    """Return the lines of a postmaster.pid (process id, data directory, start time, port, socket directory, ...)."""
    try:
        return [line.strip() for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return []


def pid_in(path: Path) -> int | None:
    """Return the process id in a lock file of PostgreSQL, None if there is none."""
    lines = pid_file_lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() and int(lines[0]) > 1 else None


def exists(pid: int) -> bool:
    """Return whether the process exists, as PostgreSQL checks it: zombies and other users' processes count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def alive(pid: int) -> bool:
    """Return whether the process exists and is no zombie (the init process of many containers reaps none)."""
    if not exists(pid):
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return not Path("/proc/self/stat").exists()


def is_server_of(pid: int, pgdata: Path) -> bool:
    """Return whether `pid` is a postgres process of `pgdata`, and not another process with a reused id."""
    if Path("/proc/self/cwd").exists():
        try:
            directory, program = Path(f"/proc/{pid}/cwd").readlink(), Path(f"/proc/{pid}/exe").readlink()
        except OSError:
            return False
        return directory == pgdata and program.name.startswith("postgres")
    command = ["/bin/ps", "-o", "command=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return "postgres" in shown and str(pgdata) in shown


def terminate(pid: int) -> None:
    """Request a fast shutdown (SIGINT), after STOP_TIMEOUT_S an immediate one (SIGQUIT); wait for the end.

    Raises ProcessError if the process does not end.
    """
    for how in (signal.SIGINT, signal.SIGQUIT):
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if not alive(pid):
                return
            time.sleep(0.02)
    raise ProcessError(f"The embedded PostgreSQL (process {pid}) does not stop.")
