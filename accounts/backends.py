"""Check passwords."""

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.login_names import account_named
from accounts.models import User


class AccountBackend(AuthenticationBackend):
    """Check the password of the account that the login name identifies.

    Hashes once, whether there is an account or not, so that the response time does not reveal it.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str = "", password: str = "", email: str = "", **others: Any
    ) -> User | None:
        """Return the active user. Raises PermissionDenied, so that no other backend tries as well."""
        named = account_named(username or email, request)
        if named is None:
            self._mitigate_timing_attack(password)
        # Remembers a deactivated user whose password is right, for the page that says so.
        elif self._check_password(named.user, password):
            return named.user
        raise PermissionDenied
