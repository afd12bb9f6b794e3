"""manage.py jobs: show jobs, delays and stuck jobs; retry and cancel."""

import getpass
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scheduler import operations
from scheduler.models import JobStatus

WISHES = {"retry": operations.retry, "cancel": operations.cancel}


class Command(BaseCommand):
    help = "Shows the jobs by kind, their lag and what is stuck; `jobs retry ID…` and `jobs cancel ID…` act on them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", nargs="?", choices=["show", *WISHES], default="show")
        parser.add_argument("ids", nargs="*", type=int, metavar="ID")
        parser.add_argument("--json", action="store_true", help="machine-readable")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "show":
            self.show(operations.summary(), as_json=options["json"])
        else:
            self.act(options["action"], options["ids"], as_json=options["json"])

    def show(self, found: dict[str, Any], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(found, default=str))
            return
        self.stdout.write(
            f"{'kind':<28}" + "".join(f"{status:>11}" for status in JobStatus.values) + f"{'late, s':>10}"
        )
        for kind, entry in found["kinds"].items():
            counts = "".join(f"{entry.get(status, 0):>11}" for status in JobStatus.values)
            self.stdout.write(f"{kind:<28}{counts}{entry['late_s']:>10}")
        lag = found["lag"]
        if lag["runs"]:
            self.stdout.write(
                f"start lag, last 5 min: p50 {lag['p50_s']:.3f} s, p99 {lag['p99_s']:.3f} s ({lag['runs']})"
            )
        for poller in found["pollers"]:
            self.stdout.write(f"poller {poller['name']}: heard of {poller['heartbeat_s_ago']:g} s ago")
        if not found["pollers"]:
            self.stdout.write("no poller is at work: start one with manage.py run_poller")
        for job in found["stuck"]:
            head = f"stuck: {job['job_type']} #{job['id']}, {job['status']}, due {job['late_s']:.0f} s ago"
            self.stdout.write(f"{head} {job['last_error']}")

    def act(self, action: str, ids: list[int], *, as_json: bool) -> None:
        if not ids:
            raise CommandError(f"Name the jobs: manage.py jobs {action} ID…")
        outcomes = WISHES[action](ids, by=f"{getpass.getuser()} (command line)")
        if as_json:
            rows = [{"id": outcome.job_id, "done": outcome.done, "words": outcome.words} for outcome in outcomes]
            self.stdout.write(json.dumps(rows))
        else:
            for outcome in outcomes:
                words = "done" if outcome.done else f"refused: {outcome.words}"
                self.stdout.write(f"#{outcome.job_id} {words}")
        if not all(outcome.done for outcome in outcomes):
            raise SystemExit(1)
