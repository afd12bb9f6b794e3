"""The weekly report of a team: figures, wrong verdicts and noisy environments, by the channels that report."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count

from accounts.models import Team
from analysis.delivery import Figures, figures_of
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
ALERTS = ("verdict_issued", "early_rollback", "endpoint_silent", "signature_refused", "deployment_abandoned")
# Those with the most deployments are in the report.
MOST_PROJECTS = 8
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
    """Return the figures of the team's last week, and of its projects; None for a week without deployments."""
    projects = {one.pk: one for one in Project.objects.not_deleted().filter(team=team).order_by("name", "pk")}
    figures = figures_of(list(projects), WEEK.days, now)
    if not (figures.deployed or figures.rollbacks or figures.judged):
        return None
    wrong, noise = wrong_in(list(projects), now), noise_in(team, now)
    active = {pk: found for pk in projects if (found := figures_of([pk], WEEK.days, now)) and is_active(found)}
    busiest = sorted(active, key=lambda pk: -(active[pk].deployed + active[pk].rollbacks + active[pk].judged))
    return {
        **as_facts(figures, sum(wrong.values())),
        "noisy": noise[:MOST_NOISY],
        "projects": [
            {
                "id": str(projects[pk].uuid),
                "name": projects[pk].name,
                **as_facts(active[pk], wrong.get(pk, 0)),
                "noisy": [one for one in noise if one["project_id"] == pk][:MOST_NOISY],
            }
            for pk in busiest[:MOST_PROJECTS]
        ],
        "more_projects": max(len(busiest) - MOST_PROJECTS, 0),
    }


def is_active(figures: Figures) -> bool:
    return bool(figures.deployed or figures.rollbacks or figures.judged)


def as_facts(figures: Figures, wrong: int) -> dict[str, Any]:
    return {
        "deployed": figures.deployed,
        "rollbacks": figures.rollbacks,
        "judged": figures.judged,
        "failed": figures.failed,
        "rate": figures.failure_rate,
        "restore": figures.to_restore.median,
        "lead": figures.lead.median,
        "wrong": wrong,
    }


def wrong_in(projects: list[int], now: datetime) -> dict[int, int]:
    """Return the number of verdicts that were marked wrong in the last week, by project."""
    rows = Feedback.objects.filter(right=False, given_at__gte=now - WEEK, verdict__deployment__project_id__in=projects)
    counted = rows.values_list("verdict__deployment__project_id").annotate(count=Count("pk"))
    return {pk: count for pk, count in counted.order_by() if pk is not None}


def noise_in(team: Team, now: datetime) -> list[dict[str, Any]]:
    """Return the environments with the most alerts in the last week, which are not being deleted.

    What follows an alert, such as a recovery or a rollback, is no further one.
    """
    events = Event.objects.filter(
        team_id=team.pk,
        kind__in=ALERTS,
        occurred_at__gte=now - WEEK,
        severity__in=[Severity.WARNING, Severity.CRITICAL],
        environment_id__isnull=False,
        # The final verdict after an early one is about the same.
        parameters__early__isnull=True,
    )
    counts = events.values("environment_id").annotate(count=Count("pk")).filter(count__gte=NOISY)
    most = list(counts.order_by("-count", "environment_id").values_list("environment_id", "count"))
    environments = Environment.objects.filter(deleting_at=None, project__deleting_at=None).select_related("project")
    rows = environments.in_bulk([pk for pk, _ in most])
    return [
        {
            "project": rows[pk].project.name,
            "project_id": rows[pk].project_id,
            "environment": rows[pk].name,
            "count": count,
        }
        for pk, count in most
        if pk in rows
    ]
