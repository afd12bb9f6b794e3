"""Accounts and settings in Chromium, with a passkey of a virtual authenticator."""

import re
from typing import Any

import pytest
from django.core import mail
from playwright.sync_api import Page, expect

from accounts.models import User
from dashboard.tests.account_forms import code_of
from dashboard.tests.browsing import look, sign_in, submit

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


def sign_out(site: Page) -> None:
    site.locator(".top-user summary").click()
    submit(site, "Sign out", heading="Sign in")


def password(site: Page) -> None:
    submit(site, "Sign in", {"User name": "grace@example.org", "Password": PHRASE})


def test_from_signing_up_to_signing_in_with_a_passkey(site, live_server, settings):
    settings.SEQPULSE_SIGNUP_OPEN = True
    site.goto(f"{live_server.url}/accounts/login/?next=/dashboard/settings/")
    look(site, "account-login")
    site.get_by_role("link", name="Create an account").click()
    site.get_by_label("E-mail address").fill("grace@example.org")
    site.get_by_label("Password", exact=True).fill("short")
    submit(site, "Create the account", {"The password again": "short"})
    expect(site.locator(".field-error").first).to_be_visible()
    look(site, "account-signup")
    site.get_by_label("Password", exact=True).fill(PHRASE)
    submit(site, "Create the account", {"The password again": PHRASE})
    look(site, "account-confirm-sent")
    site.goto(link_in_mail(live_server, "confirm-email"))
    look(site, "account-confirm")
    submit(site, "Yes, confirm it", heading="Profile")

    secret = set_up_app(site)
    sign_out(site)
    password(site)
    look(site, "account-second-step", heading="Second step")
    submit(site, "Sign in", {"Code": "000000"}, text="Incorrect code")
    submit(site, "Sign in", {"Code": code_of(secret)})
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
    look(site, "account-again", heading="Is it you?")
    submit(site, "Confirm", {"Password": PHRASE})
    secret = site.locator("code.key").inner_text()
    look(site, "settings-app")
    submit(site, "Turn on", {"code": code_of(secret)})
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
    submit(site, "Add", heading="Two-factor")
    look(site, "settings-two-factor-on", text="Laptop")
    site.get_by_role("link", name="Manage").click()
    look(site, "settings-passkeys")


def test_settings_take_effect_at_once(site, live_server, user, browser):
    sign_in(site, live_server, "/dashboard/settings/")
    look(site, "settings-profile")
    site.get_by_label("First name").fill("Ada")
    site.get_by_label("Time zone").select_option("Asia/Tokyo")
    expect(site.locator("[data-zone-now]")).to_contain_text("Asia/Tokyo")
    site.get_by_label("Theme").select_option("dark")
    submit(site, "Save", text="Saved.")
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
