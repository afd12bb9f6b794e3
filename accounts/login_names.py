"""Find the one account that a login name names.

Sign-in, password reset, limits and known browsers all ask here, so that what is counted is what is tried.
"""

import unicodedata
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.db.models import Q
from django.http import HttpRequest

from accounts.models import User


@dataclass(frozen=True, slots=True)
class Named:
    """An account, with the address that named it as it is stored, "" where the user name did."""

    user: User
    address: str = ""


def account_named(name: str, request: HttpRequest | None = None) -> Named | None:
    """Return the account that this user name or address names in any spelling; None for no account, or several.

    Addresses come first: a user name that equals somebody's address (a former version accepted such) names nobody else.
    Two statements, whatever the name is; within one request the answer stays the same.
    """
    found: dict[str, Named | None] = vars(request).setdefault("_accounts_named", {}) if request is not None else {}
    if name.strip() not in found:
        candidates = Candidates(name)
        found[name.strip()] = candidates.by_address() or candidates.by_user_name()
    return found[name.strip()]


def account_with_address(address: str) -> Named | None:
    """Return the account that this address names in any spelling. Two statements, whatever the address is."""
    return Candidates(address).by_address()


def spelled_alike(name: str) -> str:
    """Normalize spellings of a name that a reader or a look-up may take for the same."""
    return unicodedata.normalize("NFKC", name).strip().upper().casefold()


class Candidates:
    """The accounts that a name may stand for."""

    def __init__(self, name: str) -> None:
        typed = name.strip() if is_storable(name) else ""
        # As typed comes first, because a stored name may itself be unusual.
        self.spellings = list(dict.fromkeys([typed, unicodedata.normalize("NFKC", typed)])) if typed else []
        addresses = [spelling.lower() for spelling in self.spellings]
        named = Q(email__in=addresses)
        for spelling in self.spellings:
            named |= Q(username__iexact=spelling)
        self.addresses = list(EmailAddress.objects.filter(email__in=addresses).select_related("user"))
        self.users = list(User.objects.filter(named))

    def by_address(self) -> Named | None:
        """Return the account to which an address belongs: that has verified it, else for which operators entered it.

        Operators' addresses are those of User.email: a sign-up sets it as well, but beside a primary row that is not
        verified. (Other rows appear by themselves: a password reset creates one.)
        """
        pending = {(row.user_id, row.email) for row in self.addresses if row.primary and not row.verified}
        for spelling in self.spellings:
            address = spelling.lower()
            verified = [row.user for row in self.addresses if row.verified and row.email == address]
            entered = [user for user in self.users if user.email == address and (user.pk, address) not in pending]
            found = verified or entered
            if len(found) == 1:
                return Named(found[0], address)
        return None

    def by_user_name(self) -> Named | None:
        """Return the account with exactly this user name, else the only one that spells it in another case."""
        for spelling in self.spellings:
            exact = [user for user in self.users if user.username == spelling]
            alike = [user for user in self.users if folded(user.username) == folded(spelling)]
            found = exact or alike
            if len(found) == 1:
                return Named(found[0])
        return None


def folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def is_storable(text: str) -> bool:
    """Return whether PostgreSQL can hold the text: no NUL, no lone surrogate."""
    try:
        return "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False
