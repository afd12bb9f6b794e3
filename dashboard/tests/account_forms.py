"""Signing up, mails and the links in them, and setting up a second factor."""

import re
import time
from typing import Any

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.mail.backends.locmem import EmailBackend
from django.test import Client

from dashboard.tests.pages import elements, words

SIGNUP, ACTIVATE = "/accounts/signup/", "/accounts/2fa/totp/activate/"
NEW = {"email": "Grace@Example.org", "password1": "a fine long phrase", "password2": "a fine long phrase"}
STEP_S = 30


class Refusing(EmailBackend):
    """A mail server that is away."""

    def send_messages(self, messages: Any) -> int:
        raise ConnectionRefusedError("smtp.example.com: connection refused")


def link_in(message: Any, part: str) -> str:
    """The path of the link in a mail that has this part."""
    found = re.search(rf"http://testserver(\S*{part}\S*)", message.body)
    assert found is not None, message.body
    return found[1]


def code_of(secret: str, steps: int = 0) -> str:
    """Return the code of an authenticator app now, or so many half minutes later."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // STEP_S + steps)))


def set_up(client: Client) -> tuple[str, list[str]]:
    """An app is set up: its secret and the recovery codes."""
    page = client.get(ACTIVATE)
    assert elements(page, '[src^="data:image/svg+xml;base64,"]')
    secret = words(page, ".key")
    return secret, codes_of(client.post(ACTIVATE, {"code": code_of(secret)}, follow=True))


def codes_of(page: Any) -> list[str]:
    """Return the recovery codes on the page."""
    return [words(code) for code in elements(page, "li > code")]
