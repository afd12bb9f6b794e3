"""Filters of the list of hints."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from analysis.models import Hint
from analysis.texts.hints import HINTS
from dashboard.filtering import ListFilters, choice_field
from dashboard.labels import METRICS, SEVERITIES

CODES = sorted({key.partition(".")[0] for key in HINTS})
SEVERITY_LABELS = {name: status.label for name, status in SEVERITIES.items()}
# Days counted by default, and at most: one column per day.
USUAL_DAYS, MOST_DAYS = 30, 90


class HintFilters(ListFilters):
    """All filters must match."""

    severity = choice_field(_("Severity"), _("All severities"), SEVERITY_LABELS.items())
    code = choice_field(_("Code"), _("All codes"), [(code, code) for code in CODES])
    metric = choice_field(_("Metric"), _("All metrics"), METRICS.items())

    field_order = ("severity", "code", "metric", "project", "environment", "range", "since", "until")

    model, through, moment = Hint, "deployment__", "created_at"
    equal = ("severity", "code", "metric")

    def counted_span(self) -> tuple[datetime, datetime]:
        """Return the period counted by day: the last days of the selected time."""
        since, until = self.span()
        end = min(until or timezone.now(), timezone.now())
        days = USUAL_DAYS if since is None else MOST_DAYS
        earliest = midnight(end) - timedelta(days=days - 1)
        return max(since, earliest) if since is not None else earliest, end


def midnight(at: datetime) -> datetime:
    """Return the start of the day in the user's time zone."""
    return timezone.localtime(at).replace(hour=0, minute=0, second=0, microsecond=0)
