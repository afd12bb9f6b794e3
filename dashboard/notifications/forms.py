"""Forms of channels: what a kind needs, and the rules."""

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import Team
from dashboard.accounts.forms import zone_choices
from notifications.channels.base import ChannelKind, Field
from notifications.models import Channel
from notifications.recipients import MOST_ADDRESSES, addresses_in, wrong_in
from notifications.words import CHOICES
from outbound.endpoints import EndpointError, parse_endpoint
from projects.models import Environment, Project

MAX_LENGTH = 2048
DEFAULTED = ("least_severity", "language", "cooldown_s", "time_zone")
RULES = (
    "name",
    "project",
    "least_severity",
    "events",
    "environments",
    "language",
    "cooldown_s",
    "digest",
    "quiet_from",
    "quiet_until",
    "time_zone",
    "weekly",
)


class ConfigField(forms.CharField):
    """A field of a kind. What is hidden may be left empty once it is stored."""

    def __init__(self, field: Field, *, stored: bool) -> None:
        required = field.required and not (stored and field.hidden)
        secret = field.type == "secret"
        attributes = {"autocomplete": "new-password" if secret else "off", "spellcheck": "false"}
        widget = forms.PasswordInput if secret else forms.TextInput
        help_text: Any = _("Stored. Leave it empty to keep it.") if stored and field.hidden else field.help
        label: Any = field.label
        super().__init__(
            label=label, help_text=help_text, required=required, max_length=MAX_LENGTH, widget=widget(attributes)
        )
        self.field = field

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        if not text:
            return text
        if not text.isprintable() or (self.field.type == "secret" and not text.isascii()):
            raise forms.ValidationError(_("This contains characters that no such value has. Copy it again."))
        if self.field.pattern and not re.fullmatch(self.field.pattern, text):
            raise forms.ValidationError(_("This does not look like one. Copy it again."))
        if self.field.type == "emails":
            check_addresses(text)
        if self.field.type == "url":
            try:
                parse_endpoint(text)
            except EndpointError as error:
                raise forms.ValidationError(str(error)) from None
        return text


def check_addresses(text: str) -> None:
    """Raise ValidationError for what is no list of addresses."""
    if wrong := wrong_in(text):
        raise forms.ValidationError(_("“%(wrong)s” is no e-mail address.") % {"wrong": wrong[:100]})
    if not 1 <= len(addresses_in(text)) <= MOST_ADDRESSES:
        raise forms.ValidationError(_("Enter at most %(most)s addresses.") % {"most": MOST_ADDRESSES})


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]  # cannot be subscripted
    """A channel: its rules, and one field `config-…` per setting of its kind."""

    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=CHOICES,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None chosen: all of them."),
    )
    environments = forms.TypedMultipleChoiceField(
        label=_("Environments"),
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None chosen: all of them."),
    )
    time_zone = forms.ChoiceField(label=_("Time zone"))
    cooldown_s = forms.IntegerField(
        label=_("Cooldown (s)"),
        min_value=0,
        max_value=86400,
        help_text=_(
            "So long after a message, further ones of the same kind about the environment wait and go together."
        ),
    )

    class Meta:
        model = Channel
        fields = RULES
        widgets = {
            "quiet_from": forms.TimeInput({"type": "time"}, format="%H:%M"),
            "quiet_until": forms.TimeInput({"type": "time"}, format="%H:%M"),
        }
        help_texts = {
            "weekly": _("Mondays at 8:00: delivery figures of all of the team, wrong verdicts, noisy environments."),
            "digest": _("What is critical is sent at once all the same."),
            "quiet_from": _("What is not critical waits until the quiet hours end."),
        }

    def __init__(self, team: Team, kind: ChannelKind, stored: Mapping[str, Any], data: Any = None, **more: Any) -> None:
        super().__init__(data, **more)
        self.kind = kind
        fields: dict[str, Any] = self.fields
        fields["project"].empty_label = _("All projects of the team")
        fields["project"].queryset = Project.objects.active().filter(team=team).order_by("name")
        rows = Environment.objects.not_deleted().filter(project__team=team, project__deleting_at=None)
        named = rows.order_by("project__name", "name").values_list("pk", "project__name", "name")[:500]
        fields["environments"].choices = [(pk, f"{project} · {name}") for pk, project, name in named]
        if not kind.reports:
            del fields["weekly"]
        for name in DEFAULTED:
            fields[name].required = False
        fields["time_zone"].choices = zone_choices(self.initial["time_zone"])
        for field in kind.fields:
            made = ConfigField(field, stored=bool(stored.get(field.name)))
            made.initial = "" if field.hidden else stored.get(field.name, "")
            fields[f"config-{field.name}"] = made

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        start, end = data.get("quiet_from"), data.get("quiet_until")
        if (start is None) != (end is None):
            self.add_error(
                "quiet_until" if end is None else "quiet_from", _("Quiet hours have a beginning and an end.")
            )
        return data

    @property
    def configured(self) -> list[Any]:
        """Return the fields of the kind."""
        return [self[f"config-{field.name}"] for field in self.kind.fields]

    @property
    def basic(self) -> list[Any]:
        return [self[name] for name in ("name", "project", "least_severity", "language")]

    @property
    def lists(self) -> list[Any]:
        return [self["events"], self["environments"]]

    @property
    def timing(self) -> list[Any]:
        return [self[name] for name in ("cooldown_s", "digest", "quiet_from", "quiet_until", "time_zone")]

    @property
    def weekly(self) -> Any:
        return self["weekly"] if "weekly" in self.fields else None

    def config(self) -> dict[str, str]:
        """Return what was entered for the kind."""
        return {field.name: self.cleaned_data[f"config-{field.name}"] for field in self.kind.fields}

    def rules(self) -> dict[str, Any]:
        """Return the columns of the rules; what has a default is left out where it is empty."""
        given = {name: self.cleaned_data[name] for name in RULES if name in self.cleaned_data}
        return {name: value for name, value in given.items() if name not in DEFAULTED or value not in (None, "")}
