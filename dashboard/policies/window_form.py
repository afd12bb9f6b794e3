"""Form to exclude a period from an environment's baseline."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dashboard.templatetags.seqpulse import zone

# More distant or longer periods are typing errors, or would leave the environment without a baseline.
FARTHEST = timedelta(days=366)
LONGEST_WINDOW = timedelta(days=31)


def moment_field(label: Any) -> forms.DateTimeField:
    widget = forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    return forms.DateTimeField(label=label, widget=widget)


class ExcludedWindowForm(forms.Form):
    """A period excluded from the baseline: an incident, a load test."""

    starts_at = moment_field(_("From"))
    ends_at = moment_field(_("To"))
    reason = forms.CharField(label=_("Reason"), required=False, max_length=200)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, prefix="window")
        for field, label in (("starts_at", _("From (%(zone)s)")), ("ends_at", _("To (%(zone)s)"))):
            self.fields[field].label = label % {"zone": zone()}

    def clean_starts_at(self) -> datetime:
        return self._near("starts_at")

    def clean_ends_at(self) -> datetime:
        return self._near("ends_at")

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        starts_at, ends_at = data.get("starts_at"), data.get("ends_at")
        if starts_at and ends_at and ends_at <= starts_at:
            self.add_error("ends_at", _("The window has to end after it starts."))
        elif starts_at and ends_at and ends_at - starts_at > LONGEST_WINDOW:
            self.add_error("ends_at", _("A window is at most %(n)d days long.") % {"n": LONGEST_WINDOW.days})
        return data

    def _near(self, name: str) -> datetime:
        moment: datetime = self.cleaned_data[name]
        if abs(moment - timezone.now()) > FARTHEST:
            raise forms.ValidationError(_("This lies more than a year away."))
        return moment
