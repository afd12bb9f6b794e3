"""Decisions of this installation for django-allauth: sign-up, stages of signing in, addresses, mail."""

import time
from smtplib import SMTPException
from typing import Any

import structlog
from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.models import EmailAddress
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.invitations import lets_sign_up
from accounts.models import INVITATION_DAYS
from security.addressing import address_of
from security.callers import parse_address
from security.cookies import SignedCookie

logger = structlog.get_logger(__name__)

UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104  (shown, not bound)
# The id of the invitation whose page was opened last: who holds it may sign up although sign-up is closed.
INVITATION = SignedCookie("seqpulse_invitation", INVITATION_DAYS * 86400)
VERIFY_EMAIL = "allauth.account.stages.EmailVerificationStage"


class AccountAdapter(DefaultAccountAdapter):
    """The adapter for accounts with a password."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": _(
            "The e-mail address or the password is not right. A new address can be used once you have opened the link"
            " in our mail."
        ),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return whether the visitor may sign up: everyone where the setting says so, else with an invitation."""
        if settings.SEQPULSE_SIGNUP_OPEN:
            return True
        invitation = INVITATION.read(request)
        return invitation.isdecimal() and lets_sign_up(int(invitation))

    def get_login_stages(self) -> list[str]:
        """Return the steps between the password and the first page."""
        ours = {VERIFY_EMAIL: "accounts.stages.EmailVerificationStage"}
        return [ours.get(stage, stage) for stage in super().get_login_stages()]

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Return whether a sensitive action asks for the password: not shortly after signing in with it."""
        records = get_authentication_records(self.request, self.request.user)
        if any(time.time() - record["at"] < app_settings.REAUTHENTICATION_TIMEOUT for record in records):
            return False
        return bool(super().is_reauthentication_required(app=app, **kwargs))

    def reauthenticate(self, user: Any, password: str) -> bool:
        """Return whether this is the user's password: of this account, whatever its names identify."""
        return bool(user.check_password(password))

    def can_delete_email(self, email_address: EmailAddress) -> bool:
        """Return whether the user may delete the address: not the account's own while it has others.

        django-allauth would put another one in its place, verified or not.
        """
        owner = email_address.user
        others = EmailAddress.objects.filter(user=owner).exclude(pk=email_address.pk)
        if owner.email == email_address.email and others.exists():
            return False
        return bool(super().can_delete_email(email_address))

    def is_safe_url(self, url: str | None) -> bool:
        """Return whether the browser may be led to this URL after a form; what is no URL ("http://[") may not."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:
            return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the caller's address behind our proxies, for sessions and mails."""
        address = parse_address(address_of(request))
        return str(address) if address is not None else UNKNOWN_ADDRESS

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send a mail; log a failing mail server, so that the answer does not reveal whether an account exists."""
        try:
            super().send_mail(template_prefix, email, context)
        except (SMTPException, OSError) as error:
            logger.error("mail_failed", mail=template_prefix, error=type(error).__name__)
