"""Fields for times, as people and programs write them.

PostgreSQL reads offsets of less than 16 hours and without fractions of seconds, ISO 8601 and Python others too: a time
is converted before it gets there.
"""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils import timezone
from django_filters.fields import IsoDateTimeField


class MomentField(forms.DateTimeField):
    """A time, read in the active zone whatever its offset."""

    def to_python(self, value: Any) -> datetime | None:
        found = super().to_python(value)
        if found is None:
            return None
        try:
            return timezone.localtime(found)
        except OverflowError:
            # At the ends of the calendar: a few hours do not matter there.
            return found.replace(tzinfo=UTC)


class IsoMomentField(MomentField, IsoDateTimeField):
    """A time in ISO 8601, of a query parameter."""
