"""A data directory is set up by one process at a time; commands that need it wait for that one."""

import fcntl
import sys
from pathlib import Path
from typing import TextIO

NAME = "prepare.lock"


def begin(directory: Path) -> TextIO:
    """Return a lock on setting the data directory up, as soon as it is free; closing ends it, and so does a crash.

    Raises OSError where the directory cannot be used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = (directory / NAME).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def wait_until_prepared(directory: Path) -> None:
    """Return once the data directory is not being set up."""
    try:
        lock = (directory / NAME).open()
    except OSError:
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting until the database is set up ...", file=sys.stderr)  # noqa: T201
            fcntl.flock(lock, fcntl.LOCK_SH)
