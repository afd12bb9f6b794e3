"""manage.py cleanup_metrics: the poller's daily sweep, by hand or from cron."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from metrics.retention import NO_PROJECT, sweep
from projects.models import Project


class Command(BaseCommand):
    help = "Removes the samples that no plan needs any more; verdicts, hints and their evidence stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        swept = sweep(dry_run=dry_run, say=self.stdout.write if options["verbosity"] > 0 else None)
        if swept.busy:
            return
        names = dict(Project.objects.values_list("pk", "name"))
        verb = "to be removed" if dry_run else "removed"
        for project, number in sorted(swept.samples.items()):
            name = "projects that are gone" if project == NO_PROJECT else names.get(project, f"project {project}")
            self.stdout.write(f"{name}: {number} samples {verb}")
        self.stdout.write(
            f"{swept.samples.total()} samples {verb}, {len(swept.partitions)} of the partitions as a whole; "
            f"{swept.places} places of samples {verb}; {swept.levels} levels {verb}"
        )
