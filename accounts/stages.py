"""What stands between the right password and the first page."""

from __future__ import annotations

from typing import Any

from allauth.account import stages
from allauth.account.models import EmailAddress

from accounts.models import User


class EmailVerificationStage(stages.EmailVerificationStage):
    """Who signs up proves their address first. Whom ops staff made (createsuperuser, admin) comes in without."""

    def handle(self) -> Any:
        if not self.login.signup and self.login.user is not None and may_come_in(self.login.user):
            return None, True
        return super().handle()


def may_come_in(user: User) -> bool:
    """Whether no proof of the address is owed: by all but those who signed up themselves.

    Signing up leaves a primary address to prove, and who owes that was never let in. (Other rows come about by
    themselves: asking for a new password makes one of the address that ops staff gave.)
    """
    owed = EmailAddress.objects.filter(user=user, primary=True, verified=False)
    return user.last_login is not None or not owed.exists()
