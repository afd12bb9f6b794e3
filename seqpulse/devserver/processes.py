"""Child processes that end with their parent: what `make run` and `make demo` start."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
STOP_TIMEOUT_S = 15.0
LIBC = ctypes.CDLL(None)


class Stopped(BaseException):
    """SIGTERM or Ctrl-C was received. No Exception, like KeyboardInterrupt: handlers of failures must not catch it."""


def stop_on_signals() -> None:
    """Make the first SIGTERM, SIGINT or SIGHUP raise Stopped in the main thread; ignore later ones."""

    def on_signal(number: int, _frame: object) -> None:
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)


class Children:
    """Processes started by this one. `stop()` ends all of them: SIGTERM, then SIGKILL after a timeout.

    Each has a session of its own, so Ctrl-C reaches only this process, which then ends them in order. On Linux the
    kernel sends them SIGTERM when this process is killed.
    """

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log_dir: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the process, from the main thread. log_dir: directory of NAME.log for its output; None: inherit."""
        with contextlib.ExitStack() as stack:
            log = stack.enter_context((log_dir / f"{name}.log").open("ab")) if log_dir is not None else None
            process = subprocess.Popen(
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if log is not None else None,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  (one system call)
            )
        self.running[name] = process
        return process

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End all children at the same time; return when none is left."""
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + timeout_s
        for process in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            # Kill the whole session: the workers of a killed web server must not outlive it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.running.clear()


def _end_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
