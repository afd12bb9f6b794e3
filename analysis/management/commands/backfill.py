"""manage.py backfill: judge the deployments of a list on what the environment's sources know of that time."""

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from analysis import backfill
from analysis.deployment_list import GIT, OLDEST, NoList, read_list
from analysis.models import PastDeployment
from explain.errors import ExplainedError
from explain.facts import Fact
from explain.rendering import render
from metrics.management.sources import environment_named
from projects.models import Environment
from scheduler.models import Poller
from scheduler.queue import database_now

LOOK_EVERY_S = 0.5
ERRORS_SHOWN = 20


def minutes(text: str) -> timedelta:
    """Read an option. Raises ArgumentTypeError."""
    try:
        found = timedelta(minutes=float(text))
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is no number of minutes") from None
    if not timedelta(0) <= found <= backfill.LONGEST_TAKES:
        raise ArgumentTypeError(f"0 to {backfill.LONGEST_TAKES.total_seconds() / 60:g} minutes")
    return found


class Command(BaseCommand):
    help = (
        "Judges earlier deployments on what a Prometheus still knows of them, by the environment's policy; nobody is "
        f"told, and nothing else counts them. A list comes from, for example: {GIT}".replace("%", "%%")
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="its name or id")
        parser.add_argument("--env", "--environment", default="prod", help="name of the environment (default: prod)")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--from-git", metavar="FILE", help='one per line: name, commit and time; "-" reads stdin')
        what.add_argument("--again", action="store_true", help="judge those that are stored by the policy of now")
        what.add_argument("--stop", action="store_true", help="leave those that are not judged yet")
        what.add_argument("--clear", action="store_true", help="delete what was imported")
        usual = backfill.USUALLY_TAKES.total_seconds() / 60
        parser.add_argument(
            "--takes",
            metavar="MINUTES",
            type=minutes,
            default=backfill.USUALLY_TAKES,
            help=f"from the time in the list until the new version serves (default: {usual:g})",
        )
        parser.add_argument("--no-wait", action="store_true", help="do not wait for the verdicts")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = environment_named(options["project"], options["env"])
        if options["clear"]:
            backfill.clear(environment)
            return
        if options["stop"]:
            backfill.stop(environment)
        elif options["again"]:
            backfill.judge_again(environment)
        elif options["from_git"]:
            self.add(environment, read(options["from_git"]), takes=options["takes"])
        if not options["no_wait"]:
            self.follow(environment)
        self.show(environment)

    def add(self, environment: Environment, text: str, *, takes: timedelta) -> None:
        try:
            found = read_list(text, database_now())
            new = backfill.add(environment, found.listed, takes=takes)
        except NoList as error:
            lines = [f"line {number}: {render(fact)}" for number, fact in error.problems.items()]
            more = [f"and {len(lines) - ERRORS_SHOWN} more"] if len(lines) > ERRORS_SHOWN else []
            raise CommandError("\n".join(["Nothing was imported.", *lines[:ERRORS_SHOWN], *more])) from None
        except ExplainedError as error:
            raise CommandError(render(error.fact)) from None
        old = f", {found.too_old} left out as older than {OLDEST.days} days" if found.too_old else ""
        self.stderr.write(f"{new} new, {len(found.listed) - new} known already{old}.")

    def follow(self, environment: Environment) -> None:
        """Wait until all are judged; print a line whenever there is news."""
        shown, begun, first = -1, time.monotonic(), 0
        while (progress := backfill.progress_of(environment)).waiting:
            if not any(poller.is_fresh for poller in Poller.objects.all()):
                raise CommandError("No poller runs: start one (manage.py run_poller), it judges them.")
            if progress.waiting != shown:
                shown = progress.waiting
                done, took = progress.total - shown, time.monotonic() - begun
                first = first or shown
                left = f", about {took * shown / (first - shown):.0f} s left" if first > shown else ""
                self.stderr.write(f"{done} of {progress.total}{left}")
            time.sleep(LOOK_EVERY_S)

    def show(self, environment: Environment) -> None:
        for row in PastDeployment.objects.filter(environment=environment).order_by("deployed_at", "pk"):
            name = row.name if row.name != row.commit_sha[:8] else ""
            what = " ".join(part for part in (row.commit_sha[:8], name) if part)
            if row.judged is not None:
                verdict = row.verdict if row.conclusive else f"{row.verdict}, not conclusive"
                said = f"{verdict}: {render(row.judged.verdict.summary)}"
            else:
                said = render(Fact.from_json(row.problem)) if row.problem else "waits"
            self.stdout.write(f"{row.deployed_at:%Y-%m-%d %H:%M}  {what}  {said}")


def read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--from-git: {name} cannot be read: {error}") from None
