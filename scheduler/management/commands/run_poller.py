"""manage.py run_poller: works on the job table until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from scheduler.poller import Poller, PollerOptions

FORCED_EXIT_CODE = 130


class Command(BaseCommand):
    help = "Claims due jobs and runs them. The first SIGTERM ends what runs, a second one ends at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        default = PollerOptions()
        parser.add_argument("--capacity", type=int, default=default.capacity, help="jobs at the same time")
        parser.add_argument("--threads", type=int, default=default.threads, help="threads for analysis")
        parser.add_argument("--lease", type=float, default=default.lease_s, help="seconds until its jobs go to another")
        parser.add_argument("--poll", type=float, default=default.poll_s, help="longest sleep between looks, seconds")

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(
            self.work(
                PollerOptions(
                    capacity=options["capacity"],
                    threads=options["threads"],
                    lease_s=options["lease"],
                    poll_s=options["poll"],
                )
            )
        )

    async def work(self, options: PollerOptions) -> None:
        poller = Poller(options)
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if poller.stopping:
                os._exit(FORCED_EXIT_CODE)
            poller.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await poller.run()
