"""Users, groups, teams and memberships in Django admin."""

from typing import Any

from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.utils.translation import gettext as _

from accounts.login_names import account_with_address
from accounts.models import Membership, Team, User
from accounts.services import free_user_name
from common.modeladmin import GuardedAdmin, OwnerAdmin


class OneAccountPerAddress:
    """Keep addresses unique, also those entered in the admin."""

    instance: User
    cleaned_data: dict[str, Any]

    def clean_email(self) -> str:
        email = str(self.cleaned_data.get("email") or "").lower()
        named = account_with_address(email)
        if named is not None and named.user.pk != self.instance.pk:
            raise forms.ValidationError(_("Another account has this address."))
        return email


class AccountCreationForm(OneAccountPerAddress, AdminUserCreationForm):  # type: ignore[type-arg]  # not generic at run time
    class Meta(AdminUserCreationForm.Meta):
        model = User


class AccountChangeForm(OneAccountPerAddress, UserChangeForm):  # type: ignore[type-arg]
    class Meta(UserChangeForm.Meta):
        model = User

    def clean_username(self) -> str:
        return free_user_name(self.cleaned_data["username"], self.instance)


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    model = Membership
    extra = 0
    raw_id_fields = ("user",)


@admin.register(User)
class AccountAdmin(GuardedAdmin, UserAdmin):  # type: ignore[type-arg]
    form = AccountChangeForm
    add_form = AccountCreationForm
    list_display = ("username", "email", "is_staff", "is_superuser", "is_active", "last_login")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Make an address entered by staff the primary one, to which mails about the account go; staff vouch for it."""
        super().save_model(request, obj, form, change)
        if change and "email" in form.changed_data:
            EmailAddress.objects.filter(user=obj, primary=True).update(primary=False)
            EmailAddress.objects.filter(user=obj, email=obj.email).update(primary=True, verified=True)


admin.site.unregister(Group)


@admin.register(Group)
class GuardedGroupAdmin(GuardedAdmin, GroupAdmin):
    """Django's GroupAdmin with our guard."""


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
