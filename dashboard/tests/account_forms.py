"""Signing up, links in mails, and setting up a second factor."""

from __future__ import annotations

import re
import time
from typing import Any

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.test import Client

SIGNUP, ACTIVATE = "/accounts/signup/", "/accounts/2fa/totp/activate/"
NEW = {"email": "Grace@Example.org", "password1": "a fine long phrase", "password2": "a fine long phrase"}
STEP_S = 30


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
    page = client.get(ACTIVATE).content.decode()
    found = re.search(r'class="key">([A-Z2-7]+)<', page)
    assert found is not None
    assert 'src="data:image/svg+xml;base64,' in page
    answer = client.post(ACTIVATE, {"code": code_of(found[1])}, follow=True)
    return found[1], re.findall(r"<li><code>(\d{8})</code>", answer.content.decode())
