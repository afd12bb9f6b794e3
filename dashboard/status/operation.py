"""What SeqPulse needs from those who operate it: settings, versions, room on the disk."""

import platform
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import django
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.models import User
from metrics.partitions import partitions
from scheduler.models import RestoreTrial

TABLES = """
SELECT coalesce(parent.relname, found.relname) AS name, sum(pg_total_relation_size(found.oid))::bigint,
    sum(greatest(found.reltuples, 0))::bigint
FROM pg_class AS found
LEFT JOIN pg_inherits ON inhrelid = found.oid LEFT JOIN pg_class AS parent ON parent.oid = inhparent
WHERE found.relkind = 'r' AND found.relnamespace = current_schema()::regnamespace
GROUP BY 1 ORDER BY 2 DESC LIMIT 10
"""
SIZE = "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name)))::bigint, 0) FROM unnest(%s::text[]) AS name"
# Samples of so many whole days say how fast the largest table grows.
DAYS = 7
RESTORE_DUE_AFTER = timedelta(days=92)
HOW_TO_RECORD = "manage.py restore_tried"


@dataclass(frozen=True, slots=True)
class Need:
    """One thing to look at. state: ok, warning, info; setting: the variable to set, or the command."""

    state: str
    title: Any
    text: Any
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """Sizes in bytes. tables: name, size, rows (about), largest first; a_day: what samples take; free: on the disk of
    the database, None where that is elsewhere; days: until it is full at this rate."""

    tables: list[tuple[str, int, int]]
    a_day: int
    free: int | None

    @property
    def days(self) -> int | None:
        return self.free // self.a_day if self.free is not None and self.a_day else None


def needs() -> Iterator[Need]:
    """Yield what to look at, with what is missing first."""
    yield from sorted(_needs(), key=lambda need: ("warning", "info", "ok").index(need.state))


def _needs() -> Iterator[Need]:
    given = settings.ENVIRONMENT.text
    yield Need(
        "info",
        _("Encryption keys"),
        _("Without them the secrets in a backup cannot be read. Keep them apart from it, and try once to restore both.")
        if given("SEQPULSE_ENCRYPTION_KEYS")
        else _(
            "They are in the data directory, beside the database. Keep a copy elsewhere: without them the secrets in a "
            "backup cannot be read."
        ),
        "SEQPULSE_ENCRYPTION_KEYS",
    )
    if settings.EMAIL_BACKEND.endswith(("console.EmailBackend", "dummy.EmailBackend")):
        yield Need(
            "warning",
            _("Mail"),
            _("None is sent: invitations, lost passwords and notifications by mail do not arrive."),
            "SEQPULSE_EMAIL_URL",
        )
    else:
        yield Need("ok", _("Mail"), _("A mail server is set."), "SEQPULSE_EMAIL_URL")
    if settings.SEQPULSE_PUBLIC_URL:
        yield Need("ok", _("Public address"), settings.SEQPULSE_PUBLIC_URL, "SEQPULSE_PUBLIC_URL")
    else:
        yield Need(
            "warning",
            _("Public address"),
            _("It is not set: links in notifications lead nowhere."),
            "SEQPULSE_PUBLIC_URL",
        )
    if settings.SESSION_COOKIE_SECURE:
        yield Need("ok", _("HTTPS"), _("Cookies are sent over HTTPS only."), "SEQPULSE_HTTPS")
    else:
        yield Need(
            "warning",
            _("HTTPS"),
            _("Cookies are sent over plain HTTP, too. Put a proxy with HTTPS in front of what others reach."),
            "SEQPULSE_HTTPS",
        )
    allowed = settings.SEQPULSE_OUTBOUND_ALLOW
    yield Need(
        "info",
        _("Private addresses"),
        _("Open for requests: %(list)s") % {"list": allowed}
        if allowed
        else _("None is open: services and receivers in your own network cannot be reached."),
        "SEQPULSE_OUTBOUND_ALLOW",
    )
    yield _restore()
    alone = User.objects.filter(is_staff=True, is_active=True, authenticator__isnull=True).count()
    if alone:
        text = ngettext(
            "%(n)d account of the staff signs in with a password alone.",
            "%(n)d accounts of the staff sign in with a password alone.",
            alone,
        ) % {"n": alone}
        yield Need("warning", _("Second step"), text)
    else:
        yield Need("ok", _("Second step"), _("All accounts of the staff have one."))


def _restore() -> Need:
    """Say when a backup was last restored, as operators record it."""
    title = _("Restoring a backup")
    tried_at = RestoreTrial.objects.values_list("tried_at", flat=True).first()
    if tried_at is None:
        text = _("No trial is recorded. Restore one into another database, look at it, and record that it worked.")
        return Need("warning", title, text, HOW_TO_RECORD)
    days = max(0, (timezone.now() - tried_at).days)
    ago = ngettext("Last tried %(n)d day ago.", "Last tried %(n)d days ago.", days) % {"n": days}
    late = timezone.now() - tried_at > RESTORE_DUE_AFTER
    return Need("warning" if late else "ok", title, ago, HOW_TO_RECORD)


def versions() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        [database] = cursor.fetchone()
    about = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())
    own = ("SeqPulse", about["project"]["version"])
    return [own, ("Python", platform.python_version()), ("Django", django.get_version()), ("PostgreSQL", database)]


def room() -> Room:
    """Read how large the tables are, and how fast samples grow. Three queries."""
    now = timezone.now()
    days = [
        one for one in partitions() if one.since and now - timedelta(days=DAYS + 1) <= one.since and one.until <= now
    ]
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        tables = cursor.fetchall()
        cursor.execute(SIZE, [[one.name for one in days]])
        [taken] = cursor.fetchone()
    free = shutil.disk_usage(settings.SEQPULSE_DATA_DIR).free if settings.EMBEDDED_DATABASE else None
    return Room(tables, taken // max(1, len(days)), free)
