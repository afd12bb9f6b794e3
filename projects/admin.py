"""Projects, environments, policies and keys in Django admin."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from common.modeladmin import GuardedAdmin, MachineMadeAdmin, OwnerAdmin, shown_once
from projects.admin_actions import block_endpoints, change_plan, changed_rows, unblock_endpoints
from projects.models import PLAN_CHOICES, ApiKey, Environment, ExcludedWindow, PolicySource, PolicyVersion, Project
from projects.policies import validate_policy
from projects.services import issue_api_key, set_policy
from projects.signing import enable_signing
from projects.units import METRICS_WITH_UNITS

POLICY_HELP = gettext_lazy(
    "What differs from the default policy. Of the adaptive one: sensitivity (low, normal, high), limits and "
    "tolerances by metric, warmup_samples, critical_metrics, custom_metrics, left_out, shadow; for example "
    '{"sensitivity": "high", "limits": {"latency_p95": 800}}. '
    'Fixed limits: {"kind": "fixed", "latency_p95": {"limit": 800}}. Empty: {}, the default.'
)
LONGEST_POLICY = 10_000
UNITS = tuple(f"{metric}_unit" for metric in METRICS_WITH_UNITS)
# Columns with a default: an empty field, or a request without it, leaves the value as it is.
KEPT_IF_EMPTY = (*UNITS, "settle_s")


class EnvironmentInline(admin.TabularInline):  # type: ignore[type-arg]
    """Name and endpoint; policy and signing are on the environment's own page."""

    model = Environment
    extra = 0
    fields = ("name", "metrics_endpoint")
    show_change_link = True


class PlanActionForm(ActionForm):
    """The field for the plan of the action put_on_plan."""

    plan = forms.ChoiceField(label=gettext_lazy("Plan"), required=False, choices=[("", "---------"), *PLAN_CHOICES])


@admin.register(Project)
class ProjectAdmin(OwnerAdmin):
    list_display = ("name", "team", "plan", "window", "retention", "last_number", "created_at", "archived_at")
    list_filter = ("plan", ("archived_at", admin.EmptyFieldListFilter))
    list_select_related = ("team",)
    search_fields = ("name", "team__name")
    date_hierarchy = "created_at"
    raw_id_fields = ("team",)
    readonly_fields = ("uuid", "last_number", "created_at", "archived_at")
    inlines = (EnvironmentInline,)
    actions = ("put_on_plan",)
    action_form = PlanActionForm

    @admin.action(description=gettext_lazy("Put on the plan"), permissions=["change"])
    def put_on_plan(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        plan = request.POST.get("plan", "")
        if not plan:
            self.message_user(request, _("Choose the plan beside the action."), messages.WARNING)
            return
        changed = change_plan(queryset, plan, by=str(request.user))
        text = ngettext_lazy("%(n)d project is on another plan now.", "%(n)d projects are on another plan now.", "n")
        self.report_changed(request, changed, f"Put on the plan {plan}.", text)

    @admin.display(description=gettext_lazy("window (min)"))
    def window(self, project: Project) -> int:
        return project.effective_window_minutes

    @admin.display(description=gettext_lazy("retention (days)"))
    def retention(self, project: Project) -> int:
        return project.effective_retention_days


class BlockActionForm(ActionForm):
    """The field for the reason of the action block, which the teams read."""

    reason = forms.CharField(label=gettext_lazy("Reason"), required=False, max_length=200)


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


class EnvironmentForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    policy = PolicyField(required=False, initial=dict, help_text=POLICY_HELP, widget=forms.Textarea({"rows": 8}))

    class Meta:
        model = Environment
        fields = ("project", "name", "metrics_endpoint", *UNITS, "policy", "baseline_interval_s", "settle_s")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in KEPT_IF_EMPTY:
            self.fields[name].required = False

    def clean(self) -> Any:
        for name in KEPT_IF_EMPTY:
            if self.cleaned_data.get(name) in (None, ""):
                self.cleaned_data[name] = getattr(self.instance, name)
        return self.cleaned_data

    def clean_policy(self) -> Any:
        policy = self.cleaned_data["policy"]
        if policy is None:
            return {}
        # The model's validators pass over what Django takes for empty: [] and "" are no policies.
        validate_policy(policy)
        return policy


@admin.register(Environment)
class EnvironmentAdmin(OwnerAdmin):
    form = EnvironmentForm
    list_display = ("name", "project", "metrics_endpoint", "signed", "endpoint_blocked_at", "created_at")
    list_filter = (("endpoint_blocked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("project",)
    search_fields = ("name", "project__name", "metrics_endpoint")
    raw_id_fields = ("project",)
    readonly_fields = ("signed", "endpoint_blocked_at", "endpoint_blocked_reason", "created_at")
    actions = ("issue_secret", "turn_signing_off", "block", "unblock")
    action_form = BlockActionForm

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Deployments and samples belong to the environment: it cannot move to another project.
        return (*self.readonly_fields, "project") if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Environment, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "policy" in form.changed_data:
            set_policy(obj, obj.policy, source=PolicySource.ADMIN, by=request.user)  # type: ignore[arg-type]  # staff

    @admin.display(boolean=True, description=gettext_lazy("signs requests"))
    def signed(self, environment: Environment) -> bool:
        return environment.signs

    @admin.action(description=gettext_lazy("Turn signing on, or issue a new secret"), permissions=["change"])
    def issue_secret(self, request: HttpRequest, queryset: QuerySet[Environment]) -> HttpResponse:
        issued = []
        for environment in queryset.select_related("project"):
            issued.append((str(environment), enable_signing(environment)))
            self.log_change(request, environment, "Issued a new HMAC secret.")
        return shown_once(request, self, _("New HMAC secret"), issued)

    @admin.action(description=gettext_lazy("Turn signing off"), permissions=["change"])
    def turn_signing_off(self, request: HttpRequest, queryset: QuerySet[Environment]) -> None:
        changed = changed_rows(queryset.select_related("project"), ~Q(hmac_secret=""), hmac_secret="")
        text = ngettext_lazy("%(n)d environment no longer signs.", "%(n)d environments no longer sign.", "n")
        self.report_changed(request, changed, "Turned signing off.", text)

    @admin.action(description=gettext_lazy("Block the endpoint: it is not asked any more"), permissions=["change"])
    def block(self, request: HttpRequest, queryset: QuerySet[Environment]) -> None:
        reason = request.POST.get("reason", "").strip()
        if not reason:
            self.message_user(request, _("Write the reason beside the action: the team reads it."), messages.WARNING)
            return
        blocked = block_endpoints(queryset.select_related("project"), reason, by=str(request.user))
        text = ngettext_lazy("%(n)d endpoint is blocked.", "%(n)d endpoints are blocked.", "n")
        self.report_changed(request, blocked, f"Blocked the endpoint: {reason}", text)

    @admin.action(description=gettext_lazy("Unblock the endpoint"), permissions=["change"])
    def unblock(self, request: HttpRequest, queryset: QuerySet[Environment]) -> None:
        unblocked = unblock_endpoints(queryset.select_related("project"), by=str(request.user))
        text = ngettext_lazy("%(n)d endpoint is asked again.", "%(n)d endpoints are asked again.", "n")
        self.report_changed(request, unblocked, "Unblocked the endpoint.", text)


class OfEnvironmentAdmin(GuardedAdmin):
    """Rows that name their environment."""

    list_select_related = ("environment__project", "created_by")


@admin.register(PolicyVersion)
class PolicyVersionAdmin(OfEnvironmentAdmin, MachineMadeAdmin):
    """Versions of policies. New ones come from the environment's page, its policy page or a trigger."""

    list_display = ("environment", "number", "source", "created_by", "created_at")
    list_filter = ("source",)
    search_fields = ("environment__name", "environment__project__name")
    ordering = ("-id",)


@admin.register(ExcludedWindow)
class ExcludedWindowAdmin(OfEnvironmentAdmin):
    list_display = ("environment", "starts_at", "ends_at", "reason", "created_by", "created_at")
    search_fields = ("environment__name", "environment__project__name", "reason")
    raw_id_fields = ("environment",)
    readonly_fields = ("created_by", "created_at")
    ordering = ("-starts_at",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*self.readonly_fields, "environment") if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: ExcludedWindow, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]  # staff
        super().save_model(request, obj, form, change)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = ApiKey
        fields = ("project", "name")


@admin.register(ApiKey)
class ApiKeyAdmin(GuardedAdmin):
    """Create keys, show them once, and revoke them; the hash is not shown."""

    form = ApiKeyForm
    list_display = ("name", "prefix", "project", "created_at", "last_used_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("project",)
    search_fields = ("name", "prefix", "project__name")
    date_hierarchy = "created_at"
    raw_id_fields = ("project",)
    actions = ("revoke_keys",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        recorded = ("prefix", "created_at", "last_used_at", "revoked_at")
        return ("project", "name", *recorded) if obj else ("project", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("project", "prefix", "created_at", "last_used_at", "revoked_at") if obj else ()

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        secret = issue_api_key(obj.project, obj.name)
        obj.pk = ApiKey.objects.matching(secret).values_list("pk", flat=True).get()
        obj.refresh_from_db()
        # For response_add, in this request; the row has no such field.
        obj.secret = secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        secret: str = obj.secret  # type: ignore[attr-defined]
        return shown_once(request, self, _("New API key"), [(f"{obj.project} / {obj.name}", secret)])

    @admin.action(description=gettext_lazy("Revoke"), permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        text = ngettext_lazy("%(n)d key revoked.", "%(n)d keys revoked.", "n")
        self.report_changed(request, [key for key in queryset if key.revoke()], "Revoked.", text)
