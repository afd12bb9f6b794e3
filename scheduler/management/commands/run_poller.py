"""manage.py run_poller: work on the job table until stopped."""

import asyncio
import gc
import os
import resource
import signal
import sys
import threading
from argparse import ArgumentParser
from typing import Any

import structlog
from django.core.management.base import BaseCommand

from scheduler.poller import Poller, PollerOptions

logger = structlog.get_logger(__name__)

FORCED_EXIT_CODE = 130
# Supervisors kill after ten seconds. Exit before that; other pollers take over the rest.
LATEST_EXIT_S = 9.5
# Options of the command: the field of PollerOptions, and its help.
OPTIONS = {
    "--capacity": ("capacity", "jobs at the same time"),
    "--threads": ("threads", "threads for analysis"),
    "--lease": ("lease_s", "seconds until a silent poller's jobs go"),
    "--poll": ("poll_s", "longest sleep between two looks, seconds"),
}


def raise_open_file_limit() -> None:
    """Raise the limit of open files as far as allowed: each running collection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def exit_now(code: int) -> None:
    """End the process without waiting for hanging threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Command(BaseCommand):
    help = "Claims due jobs and runs them. The first SIGTERM ends what runs, a second one ends at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        for option, (field, words) in OPTIONS.items():
            default = getattr(PollerOptions(), field)
            parser.add_argument(option, dest=field, type=type(default), default=default, help=words)

    def handle(self, *args: Any, **options: Any) -> None:
        raise_open_file_limit()
        # What is loaded by now stays: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        asyncio.run(self.work(PollerOptions(**{field: options[field] for field, _ in OPTIONS.values()})))
        if any(thread.name.startswith(("worker", "database")) for thread in threading.enumerate()):
            # Threads that still compute would keep the interpreter alive; their jobs have been handed back.
            exit_now(0)

    async def work(self, options: PollerOptions) -> None:
        poller = Poller(options)
        loop = asyncio.get_running_loop()

        def give_up() -> None:
            logger.error("poller_ended_late", poller=poller.name, held=len(poller.held))
            exit_now(1)

        def on_signal() -> None:
            if poller.stopping:
                exit_now(FORCED_EXIT_CODE)
            watchdog = threading.Timer(LATEST_EXIT_S, give_up)
            watchdog.daemon = True
            watchdog.start()
            poller.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await poller.run()
