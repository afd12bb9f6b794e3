"""Steps between the right password and the first page."""

from typing import Any

from allauth.account import stages
from allauth.account.models import EmailAddress

from accounts.models import User


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
