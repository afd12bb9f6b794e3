"""Steps between the right password and the first page."""

from datetime import timedelta
from typing import Any

from allauth.account import stages
from allauth.account.models import EmailAddress
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from accounts.models import Membership, User

# How long a sign-up waits for its address to be verified: longer than its link can be used.
UNVERIFIED_DAYS = 7


class EmailVerificationStage(stages.EmailVerificationStage):
    """Require a verified address after a sign-up, but not of accounts that operators created."""

    def handle(self) -> Any:
        if not self.login.signup and self.login.user is not None and may_come_in(self.login.user):
            return None, True
        return super().handle()


def may_come_in(user: User) -> bool:
    """Return whether the user may sign in without verifying an address: all but those who signed up themselves.

    A sign-up leaves a primary address that is not verified, and no login. (Other rows appear by themselves: a password
    reset creates one for the address that operators entered.)
    """
    owed = EmailAddress.objects.filter(user=user, primary=True, verified=False)
    return user.last_login is not None or not owed.exists()


def abandoned() -> QuerySet[User]:
    """Return accounts that signed up a week ago and have never come in: anybody may leave them, for any address."""
    addresses = EmailAddress.objects.filter(user=OuterRef("pk"))
    return User.objects.filter(
        Exists(addresses.filter(primary=True, verified=False)),
        ~Exists(addresses.filter(verified=True)),
        ~Exists(Membership.objects.filter(user=OuterRef("pk"))),
        last_login=None,
        is_staff=False,
        is_superuser=False,
        date_joined__lt=Now() - timedelta(days=UNVERIFIED_DAYS),
    )
