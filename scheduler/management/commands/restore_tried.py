"""manage.py restore_tried: see docs/operating.md, "Back up and restore"."""

from typing import Any

from django.core.management.base import BaseCommand
from django.db.models.functions import Now

from scheduler.models import RestoreTrial


class Command(BaseCommand):
    help = "Records that a backup was restored just now and worked, for the page of what SeqPulse needs from operators."

    def handle(self, *args: Any, **options: Any) -> None:
        RestoreTrial.objects.update_or_create(pk=1, defaults={"tried_at": Now()})
        self.stdout.write("Recorded: a backup was restored.")
