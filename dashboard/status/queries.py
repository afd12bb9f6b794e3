"""Queries of the status page, run every few seconds at most."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from analysis.models import DeploymentVerdict
from common.cached import Cached
from dashboard.labels import Status
from metrics.models import Phase
from metrics.partitions import PARTITIONS
from scheduler.health import Health, health
from scheduler.registry import external_kinds
from scheduler.state import HEALTH_TIMEOUT_MS, DueJob, bounded, read_oldest_due
from scheduler.words import shown

DETAILS_FOR_S = 5.0
SAMPLES_WITHIN_MIN = 5

# Requests and measurements are served as usual, but a check needs attention.
MINOR = Status("warning", "warning", _("It works, but something needs attention"))
OVERALL = {
    "ok": Status("ok", "ok", _("All is well")),
    "degraded": Status("warning", "warning", _("Something is wrong")),
    "down": Status("critical", "rollback", _("SeqPulse does not work")),
}
CHECKS = {
    "ok": Status("ok", "ok", _("OK")),
    "degraded": Status("warning", "warning", _("Needs attention")),
    "down": Status("critical", "rollback", _("Down")),
    "unknown": Status("neutral", "unknown", _("Unknown")),
}
NAMES = {
    "database": _("Database"),
    "migrations": _("Migrations"),
    "pollers": _("Pollers"),
    "clock": _("Clocks"),
    "queue": _("Samples and verdicts"),
    "jobs": _("Jobs"),
}
# Of checks that are ok.
WELL = {
    "database": _("It answers."),
    "migrations": _("The tables are those of this version."),
    "clock": _("They agree with the database's."),
    "queue": _("They come on time."),
    "jobs": _("None is stuck, and none of SeqPulse's own has failed within the last hour."),
}
# By the problem (scheduler/health.py).
WORDS = {
    "database_away": _("It does not answer."),
    "database_read_only": _("It can be read, but nothing can be stored: no sample and no verdict comes in."),
    "database_full": _("Its disk is full: hardly anything can be stored until there is room."),
    "database_busy": _("It takes too long to store something."),
    "migrations_missing": _("Some are missing: run manage.py migrate."),
    "pollers_gone": _("None has been heard of: nothing is measured until one is started."),
    "pollers_frozen": _("Some are frozen: their samples come late, until they are restarted."),
    "clock_off": _("Some are more than two seconds off: what is shown as past or future may be wrong."),
    "jobs_late": _("They come late: there is more to do than the pollers manage."),
    "jobs_stuck": _("Some are stuck: their poller is gone, and no other has taken them over."),
    "jobs_failed": _("Some of SeqPulse's own have failed within the last hour. Staff see below which."),
}

# By environment and phase, to use the index samples_of_environment: else all samples of the day are read. Partitions of
# future days are excluded.
SAMPLES = """
SELECT coalesce(sum(recent.samples), 0)::int
FROM projects_environment AS place, unnest(%(phases)s::text[]) AS kind(phase), LATERAL (
    SELECT count(*) AS samples FROM metric_samples AS sample
    WHERE sample.environment_id = place.id AND sample.phase = kind.phase
        AND sample.collected_at > now() - %(minutes)s * interval '1 min'
        AND sample.collected_at < now() + interval '1 min') AS recent
"""
# By kind and environment; that of a baseline is in its metadata. SeqPulse's own first, then the most frequent.
FAILED = """
WITH failed AS (
    SELECT job.*, coalesce(deployment.environment_id, CASE jsonb_typeof(job_metadata->'environment_id')
        WHEN 'number' THEN (job_metadata->>'environment_id')::numeric END) AS place
    FROM scheduled_jobs AS job LEFT JOIN deployments AS deployment ON deployment.id = job.deployment_id
    WHERE job.status = 'failed' AND job.finished_at > now() - interval '1 hour')
SELECT job_type, job_type = ANY(%(external)s::text[]) AS external, project.name, environment.name, count(*)::int,
    max(failed.finished_at), (array_agg(error_fact ORDER BY failed.finished_at DESC))[1],
    (array_agg(last_error ORDER BY failed.finished_at DESC))[1]
FROM failed LEFT JOIN projects_environment AS environment ON environment.id = place
    LEFT JOIN projects_project AS project ON project.id = environment.project_id
GROUP BY job_type, project.id, environment.id ORDER BY external, count(*) DESC, job_type LIMIT %(shown)s
"""
FAILED_SHOWN = 10
SIZE = "SELECT pg_database_size(current_database())"


@dataclass(frozen=True, slots=True)
class Failed:
    """Jobs of a kind and an environment that failed within the last hour.

    external: they failed by what users operate, such as an endpoint; fact, text: why the last one failed, as JSON and
    in English.
    """

    kind: str
    external: bool
    project: str | None
    environment: str | None
    count: int
    last_at: datetime
    fact: str | None
    text: str

    @property
    def reason(self) -> str:
        return shown(json.loads(self.fact or "null"), self.text)


@dataclass(frozen=True, slots=True)
class Details:
    """Details for staff.

    size: of the database in bytes; samples_per_minute: over the last SAMPLES_WITHIN_MIN; partitions: number of days;
    partitions_until: end of the days created ahead.
    """

    oldest: DueJob | None
    last_verdict: datetime | None
    samples_per_minute: float
    size: int
    partitions: int
    partitions_until: datetime | None
    failed: list[Failed]


def read_details() -> Details | None:
    """Read the details in seven statements; None on timeout."""
    latest = DeploymentVerdict.objects.order_by("-id").values_list("created_at", flat=True)
    try:
        with bounded(HEALTH_TIMEOUT_MS) as cursor:
            oldest = read_oldest_due(cursor)
            verdict = latest.first()
            cursor.execute(SAMPLES, {"phases": list(Phase.values), "minutes": SAMPLES_WITHIN_MIN})
            samples = cursor.fetchone()[0]
            cursor.execute(SIZE)
            size = cursor.fetchone()[0]
            cursor.execute(PARTITIONS)
            days = cursor.fetchall()
            cursor.execute(FAILED, {"external": external_kinds(), "shown": FAILED_SHOWN})
            failed = [Failed(*row) for row in cursor.fetchall()]
    except (DatabaseError, InterfaceError):
        connection.close()
        return None
    return Details(
        oldest=oldest,
        last_verdict=verdict,
        samples_per_minute=samples / SAMPLES_WITHIN_MIN,
        size=size,
        partitions=len(days),
        partitions_until=days[-1][2] if days else None,
        failed=failed,
    )


details = Cached(read_details, DETAILS_FOR_S, overdue=lambda: None)


def status_page(*, for_staff: bool) -> dict[str, Any]:
    """Return the status: checks as name, status and text. Host names and internal numbers are for staff.

    details: None for users who are not staff, and if the database did not answer in time.
    """
    found = health.get()
    checks = [(NAMES[name], CHECKS[state], words_of(name, state, found)) for name, state in found.checks.items()]
    return {
        "overall": OVERALL[found.status] if found.status != "ok" or not found.problems else MINOR,
        # Problems first.
        "checks": sorted(checks, key=lambda check: check[1] == CHECKS["ok"]),
        "health": found,
        "details": details.get() if for_staff and found.status != "down" else None,
    }


def words_of(name: str, state: str, found: Health) -> Any:
    """Describe the state of a check."""
    if (name, state) != ("pollers", "ok"):
        return WORDS.get(found.problem_of(name)) or (WELL[name] if state == "ok" else "")
    count = found.facts["pollers"]
    return ngettext("%(n)d poller is at work.", "%(n)d pollers are at work.", count) % {"n": count}
