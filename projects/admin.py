"""Teams, projects, environments, keys and people in Django admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from projects.models import ApiKey, Environment, ExcludedWindow, Membership, PolicyVersion, Project, Team, User
from projects.services import enable_signing, issue_api_key
from security.modeladmin import GuardedAdmin, MachineMadeAdmin, OwnerAdmin, shown_once


class PersonCreationForm(AdminUserCreationForm):  # type: ignore[type-arg]  # not generic at run time
    class Meta(AdminUserCreationForm.Meta):
        model = User


class PersonChangeForm(UserChangeForm):  # type: ignore[type-arg]
    class Meta(UserChangeForm.Meta):
        model = User


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    model = Membership
    extra = 0
    raw_id_fields = ("user",)


@admin.register(User)
class PersonAdmin(GuardedAdmin, UserAdmin):  # type: ignore[type-arg]
    form = PersonChangeForm
    add_form = PersonCreationForm
    list_display = ("username", "email", "is_staff", "is_superuser", "is_active", "last_login")


admin.site.unregister(Group)


@admin.register(Group)
class RightsGroupAdmin(GuardedAdmin, GroupAdmin):
    """Django's own, with the guard."""


@admin.register(Team)
class TeamAdmin(OwnerAdmin):
    list_display = ("name", "created_at")
    search_fields = ("name",)
    inlines = (MembershipInline,)


@admin.register(Membership)
class MembershipAdmin(GuardedAdmin):
    list_display = ("user", "team", "role")
    list_filter = ("role",)
    list_select_related = ("user", "team")
    search_fields = ("user__username", "team__name")
    raw_id_fields = ("user", "team")


class EnvironmentInline(admin.TabularInline):  # type: ignore[type-arg]
    """Name and endpoint; policy and signing are on the environment's own page."""

    model = Environment
    extra = 0
    fields = ("name", "metrics_endpoint")
    show_change_link = True


@admin.register(Project)
class ProjectAdmin(OwnerAdmin):
    list_display = ("name", "team", "plan", "window", "retention", "last_number", "created_at")
    list_filter = ("plan",)
    list_select_related = ("team",)
    search_fields = ("name", "team__name")
    date_hierarchy = "created_at"
    raw_id_fields = ("team",)
    readonly_fields = ("uuid", "last_number", "created_at")
    inlines = (EnvironmentInline,)

    @admin.display(description="window (min)")
    def window(self, project: Project) -> int:
        return project.effective_window_minutes

    @admin.display(description="retention (days)")
    def retention(self, project: Project) -> int:
        return project.effective_retention_days


@admin.register(Environment)
class EnvironmentAdmin(OwnerAdmin):
    list_display = ("name", "project", "metrics_endpoint", "signed", "created_at")
    list_select_related = ("project",)
    search_fields = ("name", "project__name", "metrics_endpoint")
    raw_id_fields = ("project",)
    readonly_fields = ("signed", "created_at")
    actions = ("issue_secret", "turn_signing_off")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Deployments and samples belong to the environment: it cannot move to another project.
        return (*self.readonly_fields, "project") if obj else self.readonly_fields

    @admin.display(boolean=True, description="signs requests")
    def signed(self, environment: Environment) -> bool:
        return environment.signs

    @admin.action(description="Turn signing on, or issue a new secret", permissions=["change"])
    def issue_secret(self, request: HttpRequest, queryset: QuerySet[Environment]) -> HttpResponse:
        issued = []
        for environment in queryset.select_related("project"):
            issued.append((str(environment), enable_signing(environment)))
            self.log_change(request, environment, "Issued a new HMAC secret.")
        return shown_once(request, self, _("New HMAC secret"), issued)

    @admin.action(description="Turn signing off", permissions=["change"])
    def turn_signing_off(self, request: HttpRequest, queryset: QuerySet[Environment]) -> None:
        changed = 0
        for environment in queryset.select_related("project"):
            changed += Environment.objects.filter(pk=environment.pk).exclude(hmac_secret="").update(hmac_secret="")
            self.log_change(request, environment, "Turned signing off.")
        text = ngettext("%(n)d environment no longer signs.", "%(n)d environments no longer sign.", changed)
        self.message_user(request, text % {"n": changed}, messages.SUCCESS)


class OfEnvironmentAdmin(GuardedAdmin):
    """Rows that name their environment."""

    list_select_related = ("environment__project", "created_by")


@admin.register(PolicyVersion)
class PolicyVersionAdmin(OfEnvironmentAdmin, MachineMadeAdmin):
    """What environments were judged by. A new one comes from the environment's page, its policy page or a trigger."""

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
    """Keys are made here, shown once, and revoked; the hash is nobody's business."""

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

    @admin.action(description="Revoke", permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        revoked = 0
        for key in queryset:
            if key.revoke():
                revoked += 1
                self.log_change(request, key, "Revoked.")
        text = ngettext("%(n)d key revoked.", "%(n)d keys revoked.", revoked)
        self.message_user(request, text % {"n": revoked}, messages.SUCCESS)
