"""Take alerts of Alertmanager, Grafana and others (POST /alerts/{token}): what fires in an environment, and since when.

One row per environment and fingerprint, so that what is sent again every few minutes is stored once.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet

from accounts.invitations import hash_token
from metrics.configuring import add_source
from metrics.models import Alert, AlertToken, Source
from metrics.sources.alerts import CRITICAL, KIND, AlertsConfig
from projects.models import Environment
from scheduler.queue import database_now
from scheduler.recurring import recurring
from security.redaction import redact, redact_foreign_text

PREFIX = "spal_"
# Of one call.
MOST_ALERTS = 1000
# Different alerts of an environment; what is already known is always taken.
MOST_KNOWN = 1000
MOST_LABELS = 20
LONGEST = 200
MOST_EARLIER = 10
KEPT = timedelta(days=30)
# What was firing at most so long is believed; what names an earlier time, or none, is of now.
OLDEST = timedelta(days=365)
RESOLVED = ("resolved", "ok", "normal", "closed", "recovered", "inactive")


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert as it came. started_at, ended_at: None where that is not known; firing: whether it still does."""

    fingerprint: str
    name: str
    severity: str
    labels: Mapping[str, str]
    firing: bool
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a call: alerts taken, and those beyond what an environment may have."""

    taken: int
    left_out: int


def new_token(source: Source) -> str:
    """Return a new token of the source, which is stored nowhere; one from before is not valid any more."""
    token = PREFIX + secrets.token_urlsafe(24)
    AlertToken.objects.update_or_create(source=source, defaults={"digest": hash_token(token)})
    return token


def address_for(environment: Environment) -> str:
    """Return a new token of the environment's source of alerts, which is added if need be. Raises InvalidConfig."""
    return new_token(environment.sources.filter(kind=KIND).first() or add_source(environment, KIND, {}))


def revoke_token(source: Source) -> bool:
    """Make the source's token invalid; return whether there was one."""
    return AlertToken.objects.filter(source=source).delete()[0] > 0


def source_of(token: str) -> Source | None:
    """Return the source with this token, unless its environment or project is deleted or archived."""
    rows = Source.objects.filter(
        alert_token__digest=hash_token(token),
        kind=KIND,
        environment__deleting_at__isnull=True,
        environment__project__deleting_at__isnull=True,
        environment__project__archived_at__isnull=True,
    )
    return rows.select_related("environment").first()


def parse_alerts(body: Any) -> list[Firing]:
    """Return the alerts of a webhook. Raises ValueError that says what is missing."""
    if not isinstance(body, dict):
        raise ValueError("Send an object with alerts, or one alert with a title and a status.")
    given = body.get("alerts", [body])
    if not isinstance(given, list):
        raise ValueError("alerts: this has to be a list.")
    if len(given) > MOST_ALERTS:
        raise ValueError(f"alerts: a call takes at most {MOST_ALERTS}.")
    found = []
    for place, one in enumerate(given):
        where = f"alerts.{place}: " if "alerts" in body else ""
        if not isinstance(one, dict):
            raise ValueError(f"{where}an alert is an object.")
        alert = _firing(one)
        if alert is None:
            raise ValueError(f"{where}an alert has a label alertname, a title or a name.")
        found.append(alert)
    return found


def _firing(one: Mapping[str, Any]) -> Firing | None:
    given = one.get("labels")
    labels = given if isinstance(given, dict) else {}
    name = _first(labels.get("alertname"), *(one.get(key) for key in ("title", "name", "ruleName", "alertname")))
    if not name:
        return None
    severity = _first(*(place.get(key) for place in (labels, one) for key in ("severity", "priority", "level")))
    status = _first(one.get("status"), one.get("state"), "firing").lower()
    fingerprint = _first(one.get("fingerprint"), one.get("id"))
    if not fingerprint or len(fingerprint) > 64:
        told = repr((name, sorted((str(key), str(value)) for key, value in labels.items()), fingerprint))
        fingerprint = hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return Firing(
        fingerprint=fingerprint,
        name=_text(name),
        severity=_text(severity).lower()[:40],
        labels=_labels(labels),
        firing=status not in RESOLVED,
        started_at=_moment(one.get("startsAt") or one.get("starts_at")),
        ended_at=_moment(one.get("endsAt") or one.get("ends_at")),
    )


def _first(*values: Any) -> str:
    """Return the first text, without what neither prints nor can be stored."""
    for given in values:
        value = str(given) if type(given) is int and abs(given) < 10**18 else given
        if isinstance(value, str):
            text = "".join(one if one.isprintable() else " " for one in value[: 2 * LONGEST]).strip()
            if text:
                return text
    return ""


def _text(value: str) -> str:
    return redact_foreign_text(value)[:LONGEST]


def _labels(labels: Mapping[Any, Any]) -> dict[str, str]:
    found = {}
    for key in sorted(map(str, labels))[:MOST_LABELS]:
        name = _text(_first(key))
        found[name] = str(redact(_text(_first(labels.get(key))), name))
    return found


def _moment(value: Any) -> datetime | None:
    """Return a time; None for one that is none, or of no age (Go writes the year 1 where there is none)."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def store_alerts(source: Source, alerts: Sequence[Firing]) -> Stored:
    """Store what fires and what ended; what is known already is brought up to date."""
    config = AlertsConfig.model_validate_json(source.config.open() or "{}")
    given = {alert.fingerprint: alert for alert in alerts}
    with transaction.atomic():
        # One call after the other: two must not both find an alert new.
        Source.objects.select_for_update(no_key=True).get(pk=source.pk)
        now = database_now()
        rows = Alert.objects.filter(environment=source.environment_id)
        known = {row.fingerprint: row for row in rows.filter(fingerprint__in=given)}
        free = max(0, MOST_KNOWN - rows.count())
        # What may recommend a rollback goes first, and takes the place of what may not.
        given = dict(sorted(given.items(), key=lambda item: not is_urgent(item[1], config)))
        urgent = sum(is_urgent(alert, config) for fingerprint, alert in given.items() if fingerprint not in known)
        if urgent > free:
            free += make_room(rows.exclude(fingerprint__in=given), urgent - free)
        new: list[Alert] = []
        for fingerprint, alert in given.items():
            row = known.get(fingerprint)
            if row is not None:
                update(row, alert, now)
            elif len(new) < free:
                new.append(Alert(environment_id=source.environment_id, fingerprint=fingerprint))
                begin(new[-1], alert, now)
        for row in (*known.values(), *new):
            alert = given[row.fingerprint]
            row.name, row.severity, row.labels = alert.name, alert.severity, dict(alert.labels)
            row.level, row.seen_at = config.level_of(alert.severity), now
        Alert.objects.bulk_create(new, batch_size=500)
        changed = ["name", "severity", "labels", "level", "starts_at", "ends_at", "earlier", "seen_at"]
        Alert.objects.bulk_update(known.values(), changed, batch_size=500)
        Source.objects.filter(pk=source.pk).update(answered_at=now, failure=None)
    taken = len(known) + len(new)
    return Stored(taken, len(given) - taken)


def is_urgent(alert: Firing, config: AlertsConfig) -> bool:
    return alert.firing and config.level_of(alert.severity) == CRITICAL


def make_room(rows: QuerySet[Alert], wanted: int) -> int:
    """Remove so many alerts that are not critical and firing, those that ended or were heard of long ago first; return
    how many there were.
    """
    lesser = rows.exclude(level=CRITICAL, ends_at__isnull=True).order_by(F("ends_at").asc(nulls_last=True), "seen_at")
    removed, _ = rows.filter(pk__in=list(lesser.values_list("pk", flat=True)[:wanted])).delete()
    return removed


def begin(row: Alert, alert: Firing, now: datetime) -> None:
    """Note that an alert fires, since it says, but not since later than now."""
    started = alert.started_at
    row.starts_at = started if started is not None and now - OLDEST <= started <= now else now
    row.ends_at = None if alert.firing else ended(row, alert, now)


def update(row: Alert, alert: Firing, now: datetime) -> None:
    """Note what is new of a known alert: that it ended, or fires again."""
    started = alert.started_at
    again = row.ends_at is not None and alert.firing and (started is None or started > row.starts_at)
    if again or (started is not None and row.ends_at is not None and row.ends_at < started <= now):
        row.earlier = [*row.earlier, [row.starts_at.isoformat(), row.ends_at and row.ends_at.isoformat()]]
        row.earlier = row.earlier[-MOST_EARLIER:]
        begin(row, alert, now)
    elif row.ends_at is None and not alert.firing:
        row.ends_at = ended(row, alert, now)


def ended(row: Alert, alert: Firing, now: datetime) -> datetime:
    """Return when it ended, between its start and now."""
    return min(max(alert.ended_at or now, row.starts_at), now)


@recurring("prune_alerts", every_s=86400)
def prune() -> None:
    """Remove alerts of which nothing was heard for a month."""
    Alert.objects.filter(seen_at__lt=database_now() - KEPT).delete()
