"""Models of django-allauth in Django admin: without secrets, and read-only where users edit them themselves."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.http import HttpRequest

from common.modeladmin import GuardedAdmin, MachineMadeAdmin

for _model in (EmailAddress, Authenticator, SocialAccount, SocialApp, SocialToken, UserSession):
    admin.site.unregister(_model)


class OfPersonAdmin(MachineMadeAdmin):
    """Rows that users created for their account: staff can view them, and delete them on request."""

    list_select_related = ("user",)
    raw_id_fields = ("user",)
    search_fields = ("user__username", "user__email")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super(MachineMadeAdmin, self).has_delete_permission(request, obj)


@admin.register(EmailAddress)
class EmailAddressAdmin(GuardedAdmin):
    list_display = ("email", "user", "primary", "verified")
    list_filter = ("primary", "verified")
    list_select_related = ("user",)
    search_fields = ("email", "user__username")
    raw_id_fields = ("user",)


@admin.register(Authenticator)
class AuthenticatorAdmin(OfPersonAdmin):
    """Deleting a second factor lets a user in who lost it and the recovery codes."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    fields = ("user", "type", "created_at", "last_used_at")


@admin.register(SocialAccount)
class SocialAccountAdmin(OfPersonAdmin):
    list_display = ("user", "provider", "last_login", "date_joined")
    list_filter = ("provider",)
    fields = ("user", "provider", "last_login", "date_joined")


@admin.register(UserSession)
class UserSessionAdmin(OfPersonAdmin):
    """Deleting a session signs the user out there."""

    list_display = ("user", "ip", "user_agent", "created_at", "last_seen_at")
    fields = ("user", "ip", "user_agent", "created_at", "last_seen_at")
    search_fields = ("user__username", "ip")

    def delete_model(self, request: HttpRequest, obj: UserSession) -> None:
        self.delete_queryset(request, UserSession.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[UserSession]) -> None:
        Session.objects.filter(session_key__in=list(queryset.values_list("session_key", flat=True))).delete()
        super().delete_queryset(request, queryset)
