"""Verdicts, hints and marks in Django admin, to look at; and the policy of an environment, checked and versioned."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from analysis.models import DeploymentVerdict, Feedback, Hint
from analysis.policy import policy_from_dict
from common.modeladmin import MachineMadeAdmin
from projects.admin import EnvironmentAdmin
from projects.models import Environment, PolicySource
from projects.services import set_policy

POLICY_HELP = _(
    "What differs from the default policy. Of the adaptive one: sensitivity (low, normal, high), limits and "
    "tolerances by metric, warmup_samples, critical_metrics, left_out, shadow; for example "
    '{"sensitivity": "high", "limits": {"latency_p95": 800}}. '
    'Fixed limits: {"kind": "fixed", "latency_p95": {"limit": 800}}. Empty: {}, the default.'
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
        fields = ("project", "name", "metrics_endpoint", "policy", "baseline_interval_s")

    def clean_policy(self) -> Any:
        policy = self.cleaned_data["policy"]
        if policy is None:
            return {}
        try:
            policy_from_dict(policy)
        except (ValueError, OverflowError) as error:
            # The message quotes what was typed, of any length and also what no page can be encoded with.
            told = str(error).encode("utf-8", "backslashreplace").decode()
            raise ValidationError(Truncator(told).chars(300)) from None
        return policy


# projects may not know how a policy reads (DESIGN §2), so its form comes from here.
admin.site.unregister(Environment)


@admin.register(Environment)
class JudgedEnvironmentAdmin(EnvironmentAdmin):
    form = EnvironmentPolicyForm

    def save_model(self, request: HttpRequest, obj: Environment, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "policy" in form.changed_data:
            set_policy(obj, obj.policy, source=PolicySource.ADMIN, by=request.user)  # type: ignore[arg-type]  # staff


@admin.register(DeploymentVerdict)
class DeploymentVerdictAdmin(MachineMadeAdmin):
    list_display = ("deployment", "verdict", "confidence", "conclusive", "early", "shadow", "score", "created_at")
    list_filter = ("verdict", "conclusive", "early", "shadow")
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


@admin.register(Feedback)
class FeedbackAdmin(MachineMadeAdmin):
    """What people said on the deployments' pages; there it can be changed."""

    list_display = ("verdict", "right", "should_have_been", "reason", "given_by", "given_at")
    list_filter = ("right", "should_have_been")
    list_select_related = ("verdict__deployment__project", "given_by")
    search_fields = ("verdict__deployment__uuid", "verdict__deployment__project__name", "reason")
    ordering = ("-id",)
