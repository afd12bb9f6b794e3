"""`manage.py`: Django's commands, with a message instead of a traceback if the installation is not ready."""

import gc
import sys
from typing import Any

from django.conf import settings
from django.core.checks import Tags
from django.core.checks.registry import registry
from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility
from django.db import Error
from django.db.migrations.exceptions import InconsistentMigrationHistory
from psycopg import OperationalError
from psycopg.errors import UndefinedTable

from seqpulse.devserver.preparing import wait_until_prepared

# Commands for a second terminal, while the first `make run` still sets the database up.
WAITING = {"changepassword", "create_project", "createsuperuser"}
# Checking URLs imports every page, which takes as long as the rest of the start. Other commands serve no pages.
WITH_URLS = {"check", "runserver", "testserver"}


class CommandLine(ManagementUtility):
    """Django's command line for this project."""

    def fetch_command(self, subcommand: str) -> Any:
        command = super().fetch_command(subcommand)
        # manage.py has disabled it: what was imported stays, and scanning it took an eighth of the start.
        gc.freeze()
        gc.enable()
        if subcommand not in WITH_URLS:
            registry.registered_checks = {check for check in registry.registered_checks if Tags.urls not in check.tags}
        if subcommand in WAITING:
            wait_until_prepared(settings.SEQPULSE_DATA_DIR)
        return command


def run(argv: list[str]) -> None:
    """Run one command. Exit with 1 and a message on standard error if the installation is not ready for it."""
    try:
        CommandLine(argv).execute()
    except (ImproperlyConfigured, Error, InconsistentMigrationHistory) as error:
        message = message_for(error)
        if not message or "--traceback" in argv:
            raise
        sys.exit(message)


def message_for(error: Exception) -> str:
    """Return the problem and its remedy; "" if the installation is not the cause."""
    cause = error.__cause__
    if isinstance(error, ImproperlyConfigured):
        return str(error)
    if isinstance(error, InconsistentMigrationHistory):
        return f"{error}\nA database of before version 0.2.0 cannot be used. Run `manage.py migrate` for what to do."
    # With a SQLSTATE the server has answered.
    if isinstance(cause, OperationalError) and cause.sqlstate is None:
        remedy = (
            "Start the embedded PostgreSQL: `make run`, or `.venv/bin/python -m seqpulse.devserver.embedded start`."
            if settings.EMBEDDED_DATABASE
            else "Check DATABASE_URL, and that PostgreSQL runs there."
        )
        return f"The database does not answer: {str(cause).splitlines()[0].strip()}\n{remedy}"
    if isinstance(cause, UndefinedTable):
        return (
            f"The database is not up to date: {cause.diag.message_primary}.\nApply the migrations: `manage.py migrate`."
        )
    return ""
