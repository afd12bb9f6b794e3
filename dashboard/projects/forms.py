"""Forms of projects, environments and keys."""

from dataclasses import asdict
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts.models import Team, User
from common.validation import localized
from dashboard.labels import METRICS
from outbound.endpoints import EndpointError
from projects.guarding import refused_endpoint
from projects.models import (
    MAX_SETTLE_S,
    PLAN_CHOICES,
    Environment,
    LatencyUnit,
    Project,
    RatioUnit,
    validate_endpoint,
    validate_origins,
)
from projects.signing import DEFAULT_GRACE_HOURS, GRACE_HOURS

LONGEST_NAME = 100
GRACE_WORDS = {1: _("1 hour"), 24: _("24 hours"), 168: _("7 days")}
NUMERIC = {"inputmode": "numeric", "autocomplete": "off"}


def validate_line(text: str) -> None:
    """Raise ValidationError unless the text is one printable line."""
    if not text.isprintable():
        raise ValidationError(_("This has to be one line without control characters."))


class NameField(forms.CharField):
    """The name of a project, an environment or a key."""

    def __init__(self, *, label: Any, **kwargs: Any) -> None:
        super().__init__(label=label, max_length=LONGEST_NAME, validators=[validate_line], **kwargs)
        self.widget.attrs["autocomplete"] = "off"


def validate_guarded(url: str) -> None:
    try:
        refused = refused_endpoint(url)
    except EndpointError:
        return  # which the validator of its form says
    if refused is not None:
        raise forms.ValidationError(localized(refused))


class EndpointField(forms.CharField):
    """The URL of a metrics endpoint. One that no request may go to is refused with the setting that allows it."""

    def __init__(self, *, label: Any, **kwargs: Any) -> None:
        super().__init__(label=label, max_length=2048, validators=[validate_endpoint, validate_guarded], **kwargs)
        self.widget.attrs |= {
            "inputmode": "url",
            "autocomplete": "off",
            "spellcheck": "false",
            "placeholder": "https://shop.example.com/ds-metrics",
        }


class NewProjectForm(forms.Form):
    """A project with its first environment, in one of the offered teams.

    Without a team, `team_name` replaces `team`: the user's first project creates their team. Who is in none of
    the teams (a superuser) may choose one of them or name a new one.
    """

    team = forms.ModelChoiceField(label=_("Team"), queryset=Team.objects.none(), empty_label=None)
    team_name = NameField(
        label=_("Name of your team"), help_text=_("The people who share the project. Invite them when it is there.")
    )
    name = NameField(label=_("Name of the project"), help_text=_("One service that is deployed, for example “shop”."))
    environment = NameField(
        label=_("First environment"), initial="prod", help_text=_("What your pipeline calls it: prod, staging, …")
    )
    endpoint = EndpointField(
        label=_("Metrics endpoint of the environment"),
        required=False,
        help_text=_("May stay empty: the next page shows how to make one."),
    )
    signed = forms.BooleanField(
        label=_("Sign the requests to it, so that it answers nobody else (HMAC)"), required=False, initial=True
    )

    def __init__(self, teams: Any, user: User, data: Any = None) -> None:
        super().__init__(data)
        fields: dict[str, Any] = self.fields
        own = teams.filter(memberships__user=user).first()
        owner = user.get_full_name() or user.get_username()
        fields["team_name"].initial = (_("Team of %(name)s") % {"name": owner})[:LONGEST_NAME]
        fields["team"].queryset, fields["team"].initial = teams, own
        # When submitted again, the form of a first project stays one.
        if not teams.exists() or ("team_name" in self.data and "team" not in self.data):
            del fields["team"]
        elif own is not None:
            del fields["team_name"]
        else:
            fields["team"].empty_label, fields["team"].required = _("A new team"), False
            fields["team_name"].required = False
            fields["team_name"].label = _("Name of the new team")

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if "team" in self.fields and "team" not in self.errors and not data.get("team") and not data.get("team_name"):
            self.add_error("team_name", _("A new team needs a name."))
        return data


class ProjectForm(forms.Form):
    """The settings that members of a project may change."""

    name = NameField(label=_("Name"))
    window_minutes = forms.IntegerField(
        label=_("Minutes of observation after a deployment"),
        required=False,
        min_value=1,
        widget=forms.TextInput(NUMERIC),
    )
    retention_days = forms.IntegerField(
        label=_("Days that samples are kept"), required=False, min_value=1, widget=forms.TextInput(NUMERIC)
    )
    adopt_endpoints = forms.BooleanField(
        label=_("An environment without a metrics endpoint takes the first one that a call with a valid key brings"),
        required=False,
    )

    def __init__(self, project: Project, data: Any = None) -> None:
        initial = {name: getattr(project, name) for name in self.base_fields}
        super().__init__(data, initial=initial)
        for name in ("window_minutes", "retention_days"):
            most: int = getattr(project.plan_limits, name)
            field: Any = self.fields[name]
            field.widget.attrs["placeholder"] = str(most)
            field.help_text = _("At most %(n)d, which is also what an empty field means.") % {"n": most}
        for shown in self.fields.values():
            shown.show_hidden_initial = True


class PlanForm(forms.Form):
    plan = forms.ChoiceField(label=_("Plan"), choices=PLAN_CHOICES)


class EnvironmentForm(forms.Form):
    """A new environment of a project."""

    environment = NameField(label=_("Name of the environment"))
    endpoint = EndpointField(label=_("Metrics endpoint"), required=False)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, prefix="new")


class EnvironmentNameForm(forms.Form):
    name = NameField(
        label=_("Name"), help_text=_("Pipelines name the environment in their calls: change them at the same time.")
    )


class SettleForm(forms.Form):
    settle_s = forms.IntegerField(
        label=_("Seconds between finish and the first minute that is measured"),
        min_value=0,
        max_value=MAX_SETTLE_S,
        help_text=_(
            "For a service that starts slowly: caches fill, instances come up. 0: measure at once. A call of the "
            "pipeline may say otherwise (settle_seconds)."
        ),
        widget=forms.TextInput(NUMERIC),
    )


class OriginsForm(forms.Form):
    """Origins that calls may name, one a line; cleaned to a list of them."""

    origins = forms.CharField(
        label=_("Further origins, one a line"),
        required=False,
        help_text=_(
            "Scheme, host and port, as in https://green.shop.example:8443. A pipeline may name endpoints there for "
            "blue/green and for a control group; requests there are signed as those to the endpoint above."
        ),
        widget=forms.Textarea({"rows": 3, "spellcheck": "false", "autocomplete": "off"}),
    )

    def clean_origins(self) -> list[str]:
        origins: list[str] = self.cleaned_data["origins"].split()
        validate_origins(origins)
        return origins


class EndpointForm(forms.Form):
    """An endpoint to probe or to activate. seen: the environment's endpoint when the page was rendered."""

    url = EndpointField(label=_("URL"))
    seen = forms.CharField(required=False, max_length=2048, widget=forms.HiddenInput)

    def __init__(self, environment: Environment, data: Any = None) -> None:
        current = environment.metrics_endpoint
        super().__init__(data, initial={"url": current, "seen": current})


class UnitsForm(forms.Form):
    """The units in which an environment's endpoint answers; a form may name only some of them."""

    latency_p95 = forms.ChoiceField(label=METRICS["latency_p95"], choices=LatencyUnit, required=False)
    error_rate = forms.ChoiceField(label=METRICS["error_rate"], choices=RatioUnit, required=False)
    cpu_usage = forms.ChoiceField(label=METRICS["cpu_usage"], choices=RatioUnit, required=False)
    memory_usage = forms.ChoiceField(label=METRICS["memory_usage"], choices=RatioUnit, required=False)

    def __init__(self, environment: Environment, data: Any = None) -> None:
        super().__init__(data, initial=asdict(environment.units))
        for shown in self.fields.values():
            shown.show_hidden_initial = True


class KeyForm(forms.Form):
    name = NameField(label=_("Name"), help_text=_("Where it will be used, for example “GitHub Actions”."))


class RotateForm(forms.Form):
    grace_hours = forms.TypedChoiceField(
        label=_("The old secret stays valid for"),
        choices=[(hours, GRACE_WORDS[hours]) for hours in GRACE_HOURS],
        coerce=int,
        initial=DEFAULT_GRACE_HOURS,
    )


class TypedNameForm(forms.Form):
    """The name of what is to be deleted, typed as a confirmation."""

    typed = forms.CharField(label=_("Name"), max_length=200, widget=forms.TextInput({"autocomplete": "off"}))

    def __init__(self, name: str, data: Any = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        self.name = name

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        # Pages show white space collapsed.
        if typed.split() != self.name.split():
            raise ValidationError(_("This is not its name. Nothing was changed."))
        return typed
