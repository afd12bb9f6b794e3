"""Make the address to which Alertmanager, Grafana and others send alerts of an environment."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics.alerting import address_for, revoke_token
from metrics.sources.alerts import KIND
from projects.models import Environment


class Command(BaseCommand):
    help = "Prints a new path for alerts of an environment, once; the one from before is not valid any more."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="name of the project")
        parser.add_argument("--env", required=True, help="name of the environment")
        parser.add_argument("--revoke", action="store_true", help="only make the present one invalid")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = Environment.objects.not_deleted().filter(name=options["env"], project__name=options["project"])
        found = list(rows.filter(project__deleting_at__isnull=True)[:2])
        if len(found) != 1:
            raise CommandError("There is no such environment." if not found else "Several projects have this name.")
        source = found[0].sources.filter(kind=KIND).first()
        if options["revoke"]:
            if source is None or not revoke_token(source):
                raise CommandError("This environment has no address for alerts.")
            return
        self.stdout.write(f"/alerts/{address_for(found[0])}")
