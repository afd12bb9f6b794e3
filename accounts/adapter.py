"""What we decide of what django-allauth asks about accounts."""

from __future__ import annotations

import time
from smtplib import SMTPException
from typing import Any

import structlog
from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from django.conf import settings
from django.http import HttpRequest

from accounts.invitations import lets_sign_up
from security.addressing import address_of
from security.callers import parse_address

logger = structlog.get_logger(__name__)

UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104  (shown, bound to by nobody)
# Where the page of an invitation leaves, in the session, which one it was.
INVITATION = "invitation"
VERIFY_EMAIL = "allauth.account.stages.EmailVerificationStage"


class AccountAdapter(DefaultAccountAdapter):
    """Accounts as this installation wants them."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Whether people may sign up: all of them where the setting says so, else who was invited."""
        if settings.SEQPULSE_SIGNUP_OPEN:
            return True
        invitation = request.session.get(INVITATION)
        return isinstance(invitation, int) and lets_sign_up(invitation)

    def get_login_stages(self) -> list[str]:
        """What stands between the password and the first page."""
        ours = {VERIFY_EMAIL: "accounts.stages.EmailVerificationStage"}
        return [ours.get(stage, stage) for stage in super().get_login_stages()]

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Whether something that matters asks for the password once more: not of who has just signed in with it."""
        records = get_authentication_records(self.request, self.request.user)
        if any(time.time() - record["at"] < app_settings.REAUTHENTICATION_TIMEOUT for record in records):
            return False
        return bool(super().is_reauthentication_required(app=app, **kwargs))

    def get_client_ip(self, request: HttpRequest) -> str:
        """The caller's address through our own proxies; sessions and mails name it."""
        address = parse_address(address_of(request))
        return str(address) if address is not None else UNKNOWN_ADDRESS

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Sends it. A mail server that fails is our trouble, and looks the same whether an account exists or not."""
        try:
            super().send_mail(template_prefix, email, context)
        except (SMTPException, OSError) as error:
            logger.error("mail_failed", mail=template_prefix, error=type(error).__name__)
