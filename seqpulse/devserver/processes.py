"""Child processes that end with their parent: what `make run` and `make demo` start."""

from __future__ import annotations

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
    """SIGTERM or Ctrl-C has come. Like KeyboardInterrupt no Exception: nothing may take it for a failure."""


def stop_on_signals() -> None:
    """From now on SIGTERM, SIGINT and SIGHUP raise Stopped in the main thread, once; later ones change nothing."""

    def on_signal(number: int, _frame: object) -> None:
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)


class Children:
    """Processes started by this one. `stop()` ends all of them: SIGTERM, some time, then SIGKILL.

    Each gets a session of its own, so that a Ctrl-C reaches only this process, which then ends them in order. Where the
    kernel can (Linux), they also hear SIGTERM when this process is killed.
    """

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log_dir: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts the process, from the main thread. log_dir: both its streams go to NAME.log there; None: to ours."""
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
        """Ends every child, all at the same time; returns when none is left."""
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + timeout_s
        for process in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            # The whole session: the workers of a web server that was killed must not outlive it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.running.clear()


def _end_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
