"""manage.py migrate: Django's own, which first refuses a database of before the first release."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

# Version 0.2.0 wrote all migrations anew, one per app.
BEFORE_RELEASE = ("seqpulse", "0001_counters")


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        if BEFORE_RELEASE in MigrationRecorder(connections[options["database"]]).applied_migrations():
            empty = (
                f"remove {settings.SEQPULSE_DATA_DIR}"
                if settings.EMBEDDED_DATABASE
                else "let DATABASE_URL name another one"
            )
            raise CommandError(
                "This database was made by SeqPulse before version 0.2.0, whose data cannot be carried over."
                f" Start with an empty database: {empty}."
            )
        super().handle(*args, **options)
