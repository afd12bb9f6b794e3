"""Find the account that a login name identifies.

Sign-in, password reset, limits and known browsers all use this look-up, so that attempts count on the account that they
are made on.
"""

import unicodedata
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.db.models import Q
from django.http import HttpRequest

from accounts.models import User

# Of an address, in characters. Normalizing makes some characters eighteen.
LONGEST = 254


@dataclass(frozen=True, slots=True)
class Named:
    """An account; address: the stored address by which it was found, "" if it was found by its user name."""

    user: User
    address: str = ""


def account_named(name: str, request: HttpRequest | None = None) -> Named | None:
    """Return the account with this user name or address in any spelling; None for no account, or several.

    Addresses come first: a user name that equals another account's address (former versions accepted such) identifies
    that one. Two statements, whatever the name is; within one request the answer stays the same.
    """
    found: dict[str, Named | None] = vars(request).setdefault("_accounts_named", {}) if request is not None else {}
    if name.strip() not in found:
        candidates = Candidates(name)
        found[name.strip()] = candidates.by_address() or candidates.by_user_name()
    return found[name.strip()]


def account_with_address(address: str) -> Named | None:
    """Return the account with this address in any spelling. Two statements, whatever the address is."""
    return Candidates(address).by_address()


def spelled_alike(name: str) -> str:
    """Return the same text for names that identify the same account, if there is one.

    Names without an account are counted by this text. If one of them shared it with a name that has an account, its
    counter would reveal the difference. A dotless i equals an i in user names, as for PostgreSQL, but not in addresses.
    """
    alike = unicodedata.normalize("NFKC", name.strip()[:LONGEST]).strip().lower()
    return alike if "@" in alike else alike.replace("\u0131", "i")


class Candidates:
    """The accounts that a name may identify."""

    def __init__(self, name: str) -> None:
        stripped = name.strip()
        typed = stripped if len(stripped) <= LONGEST and is_storable(stripped) else ""
        self.alike = spelled_alike(typed)
        # As typed comes first, because a stored name may itself be unusual.
        self.written = [typed, unicodedata.normalize("NFKC", typed)] if typed else []
        addresses = [spelling.lower() for spelling in self.written]
        named = Q(email__in=addresses)
        for spelling in {*self.written, self.alike} - {""}:
            named |= Q(username__iexact=spelling)
        self.addresses = list(EmailAddress.objects.filter(email__in=addresses).select_related("user"))
        self.users = list(User.objects.filter(named))

    def by_address(self) -> Named | None:
        """Return the account to which an address belongs: that has verified it, else for which operators entered it.

        Operators' addresses are those of User.email: a sign-up sets it as well, but beside a primary row that is not
        verified. (Other rows appear by themselves: a password reset creates one.)
        """
        pending = {(row.user_id, row.email) for row in self.addresses if row.primary and not row.verified}
        for spelling in self.written:
            address = spelling.lower()
            verified = [row.user for row in self.addresses if row.verified and row.email == address]
            entered = [user for user in self.users if user.email == address and (user.pk, address) not in pending]
            found = verified or entered
            if len(found) == 1:
                return Named(found[0], address)
        return None

    def by_user_name(self) -> Named | None:
        """Return the account with exactly this user name, else the only one that spells it in another case."""
        exact = [user for spelling in self.written for user in self.users if user.username == spelling]
        found = exact[:1] or self.with_name_alike()
        return Named(found[0]) if len(found) == 1 else None

    def with_name_alike(self) -> list[User]:
        return [user for user in self.users if spelled_alike(user.username) == self.alike]


def accounts_called_alike(user_name: str) -> list[User]:
    """Return the accounts whose user name is this one in any spelling."""
    return Candidates(user_name).with_name_alike()


def is_storable(text: str) -> bool:
    """Return whether PostgreSQL can hold the text: no NUL, no lone surrogate."""
    try:
        return "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False
