"""Accounts in Django admin: no secret, one account per address, and a way back in for who lost a second factor."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.models import User
from accounts.tests.factories import PASSWORD, make_user
from dashboard.tests.pages import shows, words

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_user(username="root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def ada() -> User:
    return make_user(username="ada", email="ada@example.org")


def page(model: Any, name: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def test_tables_with_readable_secrets_are_not_there(staff):
    registered = {model._meta.label for model in admin.site._registry}
    assert not registered & {"socialaccount.SocialApp", "socialaccount.SocialToken", "sessions.Session"}


def test_a_second_factor_is_shown_without_its_secret_and_can_be_taken_away(staff, ada):
    row = Authenticator.objects.create(user=ada, type="totp", data={"secret": "do-not-show-this"})
    for address in (page(Authenticator, "changelist"), page(Authenticator, "change", row.pk)):
        shown = staff.get(address)
        assert "ada" in words(shown)
        assert "do-not-show-this" not in shown.content.decode()
    staff.post(page(Authenticator, "delete", row.pk), {"post": "yes"})
    assert not Authenticator.objects.exists()


@pytest.mark.parametrize("how", ["one", "chosen"])
def test_a_session_is_shown_without_its_key_and_ending_it_signs_out(staff, ada, how):
    theirs = Client()
    theirs.post("/accounts/login/", {"login": "ada", "password": PASSWORD})
    row = UserSession.objects.get(user=ada)
    for address in (page(UserSession, "changelist"), page(UserSession, "change", row.pk)):
        assert row.session_key not in staff.get(address).content.decode()
    if how == "one":
        staff.post(page(UserSession, "delete", row.pk), {"post": "yes"})
    else:
        chosen = {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"}
        staff.post(page(UserSession, "changelist"), chosen)
    assert theirs.get("/dashboard/settings/").status_code == 302


def test_ops_staff_give_no_address_twice(staff, ada):
    EmailAddress.objects.create(user=ada, email="other@example.org", verified=True)
    form = {"username": "eve", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    staff.post(page(User, "add"), form)
    eve = User.objects.get(username="eve")
    for taken in ("ADA@example.org", "Other@example.org"):
        shows(staff.post(page(User, "change", eve.pk), changed(eve, email=taken)), "Another account has this address.")


def test_an_address_that_ops_staff_give_is_the_one_that_mails_go_to(staff, ada):
    EmailAddress.objects.create(user=ada, email="ada@example.org", verified=True, primary=True)
    assert staff.post(page(User, "change", ada.pk), changed(ada, email="New@example.org")).status_code == 302
    ada.refresh_from_db()
    assert ada.email == "new@example.org"
    assert EmailAddress.objects.get_primary_email(ada) == "new@example.org"


def changed(person: User, **fields: str) -> dict[str, str]:
    """Submit the user's page as a browser does."""
    joined = person.date_joined
    kept = {"username": person.username, "is_active": "on", "email": person.email}
    return {**kept, "date_joined_0": f"{joined:%Y-%m-%d}", "date_joined_1": f"{joined:%H:%M:%S}", **fields}
