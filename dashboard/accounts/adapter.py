"""What we decide of what django-allauth asks about accounts."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from security.addressing import address_of
from security.callers import parse_address

UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104  (shown, bound to by nobody)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # untyped
    """Accounts as this installation wants them."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody signs up by themselves."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The caller's address through our own proxies; sessions and mails name it."""
        address = parse_address(address_of(request))
        return str(address) if address is not None else UNKNOWN_ADDRESS
