"""manage.py rotate_secrets: see docs/security.md for the order of steps."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from security.rotation import rotate


class Command(BaseCommand):
    help = "Encrypts every stored secret with the first of SEQPULSE_ENCRYPTION_KEYS. Nothing has to be stopped for it."

    def handle(self, *args: Any, **options: Any) -> None:
        done = rotate(self.stdout.write if options["verbosity"] > 1 else None)
        self.stdout.write(
            f"{done.changed} secrets encrypted with the first key, {done.current} were already,"
            f" {len(done.unreadable)} cannot be read"
        )
        if done.unreadable:
            raise CommandError(
                "No key in SEQPULSE_ENCRYPTION_KEYS opens these: bring back the key that they were encrypted with, or "
                f"issue new secrets. {', '.join(done.unreadable)}"
            )
