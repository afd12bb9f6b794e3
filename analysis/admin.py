"""Verdicts and hints in Django admin, to look at; and the policy of an environment, checked before it is saved."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from analysis.models import DeploymentVerdict, Hint
from analysis.policy import policy_from_dict
from projects.admin import EnvironmentAdmin
from projects.models import Environment
from security.modeladmin import MachineMadeAdmin

POLICY_HELP = _(
    'What differs from the default policy, for example {"latency_p95": {"limit": 800}}. Empty: {}, the default policy.'
)
LONGEST_POLICY = 10_000


class PolicyField(forms.JSONField):
    """A policy as JSON. Refuses what Django's field breaks on: text nested thousands deep, numbers of thousands of
    digits, lone surrogates; and shows refused text as it was typed."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > LONGEST_POLICY:
            raise ValidationError(_("A policy has at most %(n)s characters.") % {"n": LONGEST_POLICY})
        try:
            return super().to_python(value)
        except (ValueError, RecursionError):
            raise ValidationError(_("This is not valid JSON."), code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        return initial if self.disabled else None if data is None else InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, InvalidJSONInput) else json.dumps(value, indent=2)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(super().has_changed(initial, data))
        except (ValueError, RecursionError):
            return True


class EnvironmentPolicyForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    policy = PolicyField(required=False, initial=dict, help_text=POLICY_HELP, widget=forms.Textarea({"rows": 8}))

    class Meta:
        model = Environment
        fields = ("project", "name", "metrics_endpoint", "policy")

    def clean_policy(self) -> Any:
        policy = self.cleaned_data["policy"]
        if policy is None:
            return {}
        try:
            policy_from_dict(policy)
        except ValueError as error:
            # The message quotes what was typed, of any length and also what no page can be encoded with.
            told = str(error).encode("utf-8", "backslashreplace").decode()
            raise ValidationError(Truncator(told).chars(300)) from None
        return policy


# projects may not know how a policy reads (DESIGN §2), so its form comes from here.
admin.site.unregister(Environment)


@admin.register(Environment)
class JudgedEnvironmentAdmin(EnvironmentAdmin):
    form = EnvironmentPolicyForm


@admin.register(DeploymentVerdict)
class DeploymentVerdictAdmin(MachineMadeAdmin):
    list_display = ("deployment", "verdict", "confidence", "conclusive", "score", "created_at")
    list_filter = ("verdict", "conclusive")
    list_select_related = ("deployment__project",)
    search_fields = ("deployment__uuid", "deployment__project__name", "summary")
    ordering = ("-id",)


@admin.register(Hint)
class HintAdmin(MachineMadeAdmin):
    list_display = ("deployment", "severity", "code", "metric", "title", "confidence", "created_at")
    list_filter = ("severity", "code")
    list_select_related = ("deployment__project",)
    search_fields = ("deployment__uuid", "deployment__project__name", "title")
    ordering = ("-id",)
