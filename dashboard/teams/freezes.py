"""The page of a team's freezes: what is in force, what is planned, and a form for another."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import Team
from accounts.permissions import Action, Actions
from dashboard.accounts.forms import zone_choices
from dashboard.page import current_user, page
from dashboard.policies.form import moment_field
from dashboard.teams.queries import team_of
from deployments.shown import visible
from projects import freezing
from projects.models import Environment, Freeze, Weekday

# Of a freeze that begins at once: more than clocks differ.
SOONEST_END = timedelta(seconds=30)
WEEKLY = ("from_weekday", "from_time", "until_weekday", "until_time")
ANY_DAY = [("", "–"), *Weekday.choices]


def weekday_field(label: Any) -> forms.TypedChoiceField:
    return forms.TypedChoiceField(label=label, choices=ANY_DAY, coerce=int, empty_value=None, required=False)


def time_field(label: Any) -> forms.TimeField:
    return forms.TimeField(label=label, required=False, widget=forms.TimeInput({"type": "time"}, format="%H:%M"))


class FreezeForm(forms.Form):
    """A freeze: at once and until it is lifted, if only a reason is given."""

    reason = forms.CharField(label=gettext_lazy("Reason"), max_length=200)
    environment = forms.ModelChoiceField(
        label=gettext_lazy("Environment"),
        queryset=Environment.objects.none(),
        required=False,
        empty_label=gettext_lazy("All of the team"),
    )
    starts_at = moment_field(gettext_lazy("From"))
    ends_at = moment_field(gettext_lazy("Until"))
    from_weekday = weekday_field(gettext_lazy("From weekday"))
    from_time = time_field(gettext_lazy("at"))
    until_weekday = weekday_field(gettext_lazy("Until weekday"))
    until_time = time_field(gettext_lazy("at"))
    time_zone = forms.ChoiceField(label=gettext_lazy("Time zone of the weekly window"))

    def __init__(self, team: Team, zone: str, data: Any = None, *, environment: str = "") -> None:
        super().__init__(data, initial={"time_zone": zone, "environment": environment})
        fields: dict[str, Any] = self.fields
        fields["environment"].queryset = freezing.environments_of(team)
        fields["time_zone"].choices = zone_choices(zone)
        for name in ("starts_at", "ends_at"):
            fields[name].required = False

    def clean_reason(self) -> str:
        reason: str = self.cleaned_data["reason"]
        if not visible(reason):
            raise forms.ValidationError(self.fields["reason"].error_messages["required"])
        return reason

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        starts_at, ends_at = data.get("starts_at"), data.get("ends_at")
        # The database begins it by its own clock.
        soonest = timezone.now() + SOONEST_END
        if ends_at and ends_at <= max(starts_at or soonest, soonest):
            self.add_error("ends_at", _("It has to end after it starts, and in the future."))
        missing = [name for name in WEEKLY if data.get(name) is None and name not in self.errors]
        if missing and len(missing) < len(WEEKLY):
            for name in missing:
                self.add_error(name, _("A weekly window has two weekdays and two times."))
        return data

    def columns(self) -> dict[str, Any]:
        """Return the columns of the freeze; what is left empty is left to the database."""
        return {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}


@page("GET", "POST", of=team_of, post=Action.FREEZE, limit="making")
def freezes(request: HttpRequest, team: Team, actions: Actions) -> HttpResponse:
    """List a team's freezes; on POST, begin or plan one."""
    user = current_user(request)
    form = FreezeForm(
        team, user.time_zone or "UTC", request.POST or None, environment=request.GET.get("environment", "")
    )
    if form.is_bound and form.is_valid():
        Freeze.objects.create(team=team, created_by=user, **form.columns())
        messages.success(request, _("The freeze is stored. Calls that would begin a deployment in it are refused."))
        return redirect("dashboard:freezes", team_id=team.pk)
    rows = freezing.overview(team, timezone.now())
    return render(
        request, "dashboard/teams/freezes.html", {"team": team, "actions": actions, "rows": rows, "form": form}
    )


@page("POST", of=team_of, action=Action.FREEZE)
def lift(request: HttpRequest, team: Team, actions: Actions, freeze_id: int) -> HttpResponse:
    """End a freeze now; succeeds also if it has ended already."""
    freezing.lift(get_object_or_404(Freeze, team=team, pk=freeze_id), current_user(request))
    messages.success(request, _("The freeze is lifted."))
    return redirect("dashboard:freezes", team_id=team.pk)
