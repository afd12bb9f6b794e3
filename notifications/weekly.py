"""The weekly report of a team: figures, wrong verdicts and noisy environments, by the channels that report."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count

from accounts.models import Team
from analysis.delivery import figures_of
from analysis.models import Feedback
from common.zones import zone_named
from events.kinds import Severity
from events.models import Event
from events.outbox import NewEvent, emit
from notifications.channels import CHANNEL_KINDS
from notifications.fanning import job_of
from notifications.models import Channel, Delivery
from projects.models import Environment, Project
from scheduler.queue import database_now, enqueue

MONDAY, HOUR = 0, 8
# A report that pollers missed is still sent on the same day until then.
HOURS = 12
WEEK = timedelta(days=7)
# An environment is noisy with so many events of a week; the noisiest are named.
NOISY, MOST_NOISY = 3, 3
KIND = "weekly_report"


def send_due() -> int:
    """Write the deliveries of the reports that are due and not written yet; return how many."""
    now = database_now()
    kinds = [kind.name for kind in CHANNEL_KINDS if kind.reports]
    rows = Channel.objects.active().filter(kind__in=kinds, weekly=True, project=None).select_related("team")
    written = 0
    for channel in rows.order_by("team_id", "pk"):
        local = now.astimezone(zone_named(channel.time_zone))
        if local.weekday() == MONDAY and HOUR <= local.hour < HOUR + HOURS:
            written += send_report(channel, now, local)
    return written


def send_report(channel: Channel, now: datetime, local: datetime) -> int:
    """Write one channel's delivery of the week's report; return 1, or 0 if it has one or nothing was deployed."""
    year, week, _day = local.isocalendar()
    key = f"weekly {channel.team_id} {year} {week}"
    if Delivery.objects.filter(channel=channel, event__key=key).exists():
        return 0
    with transaction.atomic():
        if not Event.objects.filter(key=key).exists():
            facts = facts_of(channel.team, now)
            if facts is None:
                return 0
            emit(NewEvent(KIND, channel.team_id, key=key, parameters={"team": channel.team.name, "week": facts}))
            # It goes to these channels only, whatever their rules.
            Event.objects.filter(key=key).update(fanned_out_at=now)
        event = Event.objects.get(key=key)
        expires_at = now + timedelta(seconds=event.useful_for_s)
        delivery, made = Delivery.objects.get_or_create(
            event=event, channel=channel, defaults={"due_at": now, "expires_at": expires_at}
        )
        if made:
            enqueue([job_of(delivery)])
    return int(made)


def facts_of(team: Team, now: datetime) -> dict[str, Any] | None:
    """Return the figures of the team's last week; None for a week without deployments."""
    projects = list(Project.objects.not_deleted().filter(team=team).values_list("pk", flat=True))
    figures = figures_of(projects, WEEK.days, now)
    if not (figures.deployed or figures.rollbacks or figures.judged):
        return None
    wrong = Feedback.objects.filter(
        right=False, given_at__gte=now - WEEK, verdict__deployment__project_id__in=projects
    ).count()
    return {
        "deployed": figures.deployed,
        "rollbacks": figures.rollbacks,
        "judged": figures.judged,
        "failed": figures.failed,
        "rate": figures.failure_rate,
        "restore": figures.to_restore.median,
        "lead": figures.lead.median,
        "wrong": wrong,
        "noisy": noisy_in(team, now),
    }


def noisy_in(team: Team, now: datetime) -> list[dict[str, Any]]:
    """Return the environments with the most events worth a warning in the last week."""
    events = Event.objects.filter(
        team_id=team.pk,
        occurred_at__gte=now - WEEK,
        severity__in=[Severity.WARNING, Severity.CRITICAL],
        environment_id__isnull=False,
    )
    counts = events.values("environment_id").annotate(count=Count("pk")).filter(count__gte=NOISY)
    most = list(counts.order_by("-count", "environment_id").values_list("environment_id", "count")[:MOST_NOISY])
    rows = Environment.objects.select_related("project").in_bulk([pk for pk, _ in most])
    return [
        {"project": rows[pk].project.name, "environment": rows[pk].name, "count": count}
        for pk, count in most
        if pk in rows
    ]
