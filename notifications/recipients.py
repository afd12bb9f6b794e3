"""Who may be sent mail: members of the team at verified addresses, and others who confirmed by a link.

No address is stored here: rows have its keyed digest, and so have the links, which may end up in logs.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import ClassVar

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import translation
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.models import Team
from common.links import public_link
from common.mailing import send_mail
from notifications.models import MailRecipient
from scheduler.queue import database_now

MOST_ADDRESSES = 20
# No address is asked twice within it.
ASKED_FOR = timedelta(days=7)
# Of one team: a channel is no means to write to strangers.
MOST_ASKED_A_DAY = 40
SALT = "mail recipient"
# Of all questions about one channel, for which a request waits: no further one begins after it.
LONGEST_S = 20.0


@dataclass(frozen=True, slots=True)
class Recipient:
    """An address that may be sent mail. stop: a link that ends that, "" without SEQPULSE_PUBLIC_URL."""

    address: str
    digest: str
    stop: str = ""

    SHORT: ClassVar[int] = 8

    @property
    def short(self) -> str:
        return self.digest[: self.SHORT]


def addresses_in(text: str) -> list[str]:
    """Return the addresses of a channel, without repetitions."""
    given = (one.strip() for one in str(text).replace(";", ",").split(","))
    return list({one.lower(): one for one in given if one}.values())


def wrong_in(text: str) -> str:
    """Return the first that is no address; "" where all are."""
    for address in addresses_in(text):
        try:
            validate_email(address)
        except ValidationError:
            return address
    return ""


def digest_of(address: str) -> str:
    return salted_hmac(SALT, address.lower(), algorithm="sha256").hexdigest()


def link(team_id: int, digest: str) -> str:
    """Return the address of the page on which a recipient agrees or stops; "" without SEQPULSE_PUBLIC_URL."""
    return public_link("dashboard:mail", token_of(team_id, digest))


def token_of(team_id: int, digest: str) -> str:
    named = f"{team_id}-{digest}"
    return f"spl_{named}-{salted_hmac(SALT + ' link', named, algorithm='sha256').hexdigest()[:40]}"


def read_link(token: str) -> tuple[int, str] | None:
    """Return team and digest that a link names; None for one that we did not make."""
    found = re.fullmatch(r"spl_(\d{1,18})-([0-9a-f]{64})-[0-9a-f]{40}", token, re.ASCII)
    if found is None:
        return None
    team_id, digest = int(found[1]), found[2]
    return (team_id, digest) if constant_time_compare(token, token_of(team_id, digest)) else None


def decide(team: Team, digest: str, *, agrees: bool) -> None:
    """Write what the owner of an address decided."""
    decided = {"confirmed_at": Now(), "stopped_at": None} if agrees else {"confirmed_at": None, "stopped_at": Now()}
    MailRecipient.objects.update_or_create(team=team, digest=digest, defaults=decided)


def state_of(team: Team, digest: str) -> str:
    """Return what the owner of an address decided: agreed, stopped, or "" for nothing yet."""
    row = MailRecipient.objects.filter(team=team, digest=digest).first()
    if row is None or (row.confirmed_at is None and row.stopped_at is None):
        return ""
    return "stopped" if row.stopped_at is not None else "agreed"


def allowed(asked: Sequence[tuple[Sequence[str], int]]) -> set[tuple[int, str]]:
    """Return team and digest of those that may be sent mail. asked: addresses of teams. Two queries for all."""
    given = {(team_id, digest_of(address)): address.lower() for addresses, team_id in asked for address in addresses}
    teams, digests = {team_id for team_id, _ in given}, {digest for _, digest in given}
    if not given:
        return set()
    decided = MailRecipient.objects.filter(team_id__in=teams, digest__in=digests)
    rows = {(row.team_id, row.digest): row for row in decided}
    members = EmailAddress.objects.filter(
        verified=True, user__is_active=True, user__memberships__team_id__in=teams, email__in=set(given.values())
    )
    verified = {
        (team_id, email.lower()) for team_id, email in members.values_list("user__memberships__team_id", "email")
    }
    found = set()
    for (team_id, digest), address in given.items():
        row = rows.get((team_id, digest))
        confirmed = row is not None and row.confirmed_at is not None
        stopped = row is not None and row.stopped_at is not None
        if not stopped and (confirmed or (team_id, address) in verified):
            found.add((team_id, digest))
    return found


def recipients_of(asked: Sequence[tuple[Sequence[str], int]]) -> list[list[Recipient]]:
    """Return for the addresses of each team those that may be sent mail. Two queries for all."""
    may = allowed(asked)
    return [
        [
            Recipient(address, digest, link(team_id, digest))
            for address in addresses
            if (team_id, (digest := digest_of(address))) in may
        ]
        for addresses, team_id in asked
    ]


def waiting_for(addresses: Sequence[str], team_id: int) -> list[str]:
    """Return those whose owner did not agree yet, or stopped it."""
    may = allowed([(addresses, team_id)])
    return [address for address in addresses if (team_id, digest_of(address)) not in may]


def ask(addresses: Iterable[str], team: Team, language: str) -> None:
    """Ask the owners of addresses that are waited for, each once in a while.

    Those for whom a slow mail server leaves no time are asked when the channel is saved again.
    """
    now, until = database_now(), monotonic() + LONGEST_S
    asked = MailRecipient.objects.filter(team=team, asked_at__gte=now - timedelta(days=1)).count()
    for address in waiting_for(list(addresses), team.pk):
        digest = digest_of(address)
        recently = Q(asked_at__gte=now - ASKED_FOR) | Q(stopped_at__isnull=False)
        if asked >= MOST_ASKED_A_DAY or MailRecipient.objects.filter(recently, team=team, digest=digest).exists():
            continue
        if monotonic() > until:
            break
        asked += 1
        if send_question(address, team, link(team.pk, digest), language):
            MailRecipient.objects.update_or_create(team=team, digest=digest, defaults={"asked_at": Now()})


def send_question(address: str, team: Team, agree: str, language: str) -> bool:
    """Ask for consent; return False where no mail server took the mail, or there is no link to send."""
    if not agree:
        return False
    with translation.override(language):
        context = {"team": team, "link": agree}
        return send_mail("agree", address, context, headers={"Auto-Submitted": "auto-generated"}, team_id=team.pk)
