"""manage.py prune_jobs: delete jobs that ended long ago."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scheduler.operations import prune


class Command(BaseCommand):
    help = "Deletes jobs that ended more than so many days ago. Jobs of deployments that are not judged yet stay."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", type=float, required=True, metavar="DAYS")
        parser.add_argument("--dry-run", action="store_true", help="only tells how many")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["older_than"] < 0:
            raise CommandError("--older-than takes a number of days, 0 or more.")
        count = prune(options["older_than"], dry_run=options["dry_run"])
        self.stdout.write(f"{count} jobs {'would be' if options['dry_run'] else ''} deleted".replace("  ", " "))
