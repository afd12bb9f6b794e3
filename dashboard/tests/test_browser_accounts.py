"""Accounts and settings in Chromium, with a passkey of a virtual authenticator."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core import mail
from playwright.sync_api import Page, expect

from accounts.models import User
from dashboard.tests.browsing import look, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

PHRASE = "a fine long phrase"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


def link_in_mail(live_server: Any, part: str) -> str:
    found = re.search(rf"{re.escape(live_server.url)}(\S*{part}\S*)", str(mail.outbox[-1].body))
    assert found is not None
    return str(live_server.url) + found[1]


def code_of(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def sign_out(site: Page) -> None:
    site.locator(".top-user summary").click()
    site.get_by_role("button", name="Sign out").click()
    expect(site.get_by_role("heading", name="Sign in")).to_be_visible()


def password(site: Page) -> None:
    site.get_by_label("User name").fill("grace@example.org")
    site.get_by_label("Password").fill(PHRASE)
    site.get_by_role("button", name="Sign in", exact=True).click()


def test_from_signing_up_to_signing_in_with_a_passkey(site, live_server, settings):
    settings.SEQPULSE_SIGNUP_OPEN = True
    site.goto(f"{live_server.url}/accounts/login/?next=/dashboard/settings/")
    look(site, "account-login")
    site.get_by_role("link", name="Create an account").click()
    site.get_by_label("E-mail address").fill("grace@example.org")
    site.get_by_label("Password", exact=True).fill("short")
    site.get_by_label("The password again").fill("short")
    site.get_by_role("button", name="Create the account").click()
    expect(site.locator(".field-error").first).to_be_visible()
    look(site, "account-signup")
    site.get_by_label("Password", exact=True).fill(PHRASE)
    site.get_by_label("The password again").fill(PHRASE)
    site.get_by_role("button", name="Create the account").click()
    look(site, "account-confirm-sent")
    site.goto(link_in_mail(live_server, "confirm-email"))
    look(site, "account-confirm")
    site.get_by_role("button", name="Yes, confirm it").click()
    expect(site.get_by_role("heading", name="Profile")).to_be_visible()

    secret = set_up_app(site)
    sign_out(site)
    password(site)
    expect(site.get_by_role("heading", name="Second step")).to_be_visible()
    look(site, "account-second-step")
    site.get_by_label("Code").fill("000000")
    site.get_by_role("button", name="Sign in", exact=True).click()
    expect(site.get_by_text("Incorrect code")).to_be_visible()
    site.get_by_label("Code").fill(code_of(secret))
    site.get_by_role("button", name="Sign in", exact=True).click()
    expect(site).to_have_url(f"{live_server.url}/dashboard/")

    add_passkey(site, live_server)
    sign_out(site)
    site.get_by_role("button", name="Sign in with a passkey").click()
    expect(site).to_have_url(f"{live_server.url}/dashboard/")
    sign_out(site)
    password(site)
    site.get_by_role("button", name="Use a passkey or security key").click()
    expect(site).to_have_url(f"{live_server.url}/dashboard/")


def set_up_app(site: Page) -> str:
    """Through the page of the authenticator app and that of the recovery codes; the app's secret."""
    site.get_by_role("link", name="Two-factor").click()
    look(site, "settings-two-factor-off")
    site.get_by_role("link", name="Set up the app").click()
    expect(site.get_by_role("heading", name="Is it you?")).to_be_visible()
    look(site, "account-again")
    site.get_by_label("Password").fill(PHRASE)
    site.get_by_role("button", name="Confirm").click()
    secret = site.locator("code.key").inner_text()
    look(site, "settings-app")
    site.get_by_label("code").fill(code_of(secret))
    site.get_by_role("button", name="Turn on").click()
    expect(site.locator(".codes li")).to_have_count(10)
    look(site, "settings-recovery-codes")
    with site.expect_download() as download:
        site.get_by_role("link", name="Download").click()
    assert download.value.path().read_text().splitlines() == site.locator(".codes code").all_inner_texts()
    site.get_by_role("link", name="I have kept them").click()
    return secret


def add_passkey(site: Page, live_server: Any) -> None:
    """Refused by a browser without an authenticator, then given one."""
    debugger = site.context.new_cdp_session(site)
    debugger.send("WebAuthn.enable")
    site.goto(f"{live_server.url}/accounts/2fa/webauthn/add/")
    expect(site.get_by_role("heading", name="Add a passkey")).to_be_visible()
    debugger.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    site.get_by_label("Name").fill("Laptop")
    look(site, "settings-passkey-add")
    site.get_by_role("button", name="Add", exact=True).click()
    expect(site.get_by_role("heading", name="Two-factor")).to_be_visible()
    expect(site.get_by_text("Laptop")).to_be_visible()
    look(site, "settings-two-factor-on")
    site.get_by_role("link", name="Manage").click()
    look(site, "settings-passkeys")


def test_settings_take_effect_at_once(site, live_server, user, browser):
    sign_in(site, live_server, "/dashboard/settings/")
    look(site, "settings-profile")
    site.get_by_label("First name").fill("Ada")
    site.get_by_label("Time zone").select_option("Asia/Tokyo")
    expect(site.locator("[data-zone-now]")).to_contain_text("Asia/Tokyo")
    site.get_by_label("Theme").select_option("dark")
    site.get_by_role("button", name="Save").click()
    expect(site.get_by_text("Saved.")).to_be_visible()
    expect(site.locator("[data-zone-now]")).to_contain_text("JST")
    expect(site.locator("html")).to_have_css("color-scheme", "dark")
    site.get_by_label("Language").select_option("fr")
    site.get_by_role("button", name="Save").click()
    expect(site.locator("html")).to_have_attribute("lang", "fr")
    User.objects.filter(pk=user.pk).update(language="", theme="")
    for path, name in (
        ("/accounts/password/change/", "settings-password"),
        ("/accounts/email/", "settings-email-none"),
        ("/dashboard/settings/sessions/", "settings-sessions"),
        ("/accounts/logout/", "settings-sign-out"),
    ):
        site.goto(live_server.url + path)
        look(site, name)
    site.goto(f"{live_server.url}/accounts/email/")


def test_strangers_pages(site, live_server):
    for path, name in (
        ("/accounts/signup/", "account-signup-closed"),
        ("/accounts/password/reset/", "account-reset"),
        ("/accounts/password/reset/done/", "account-reset-sent"),
        ("/accounts/confirm-email/nothing/", "account-confirm-void"),
    ):
        site.goto(live_server.url + path)
        look(site, name)
    site.get_by_role("button", name="Français").click()
    expect(site.locator("html")).to_have_attribute("lang", "fr")
