"""Queries of an environment's page. They start from what the user may see, and their number is fixed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from analysis.judge.types import METRICS
from dashboard.deployments.queries import Row, findings_of, is_in_progress, samples_so_far, with_verdict
from dashboard.environments.chart import Frame, Mark, Marker, Timeline, Zone, markers_of, timelines, x_ticks, zones
from dashboard.environments.series import (
    DEFAULT_RANGE,
    LARGEST,
    ORIGIN,
    RANGES,
    Bucket,
    Level,
    Range,
    begin_of,
    rows_of,
)
from dashboard.labels import status_of
from dashboard.policies.queries import readable
from deployments.models import Deployment
from metrics.baseline import latest_jobs
from metrics.models import SAYS_NOTHING, Alert, Group, MetricSample, Phase
from projects.models import Environment, ExcludedWindow
from projects.policy import LIMITED_METRICS, FixedPolicy, Policy
from scheduler.health import health
from scheduler.models import OPEN_STATUSES, JobStatus
from scheduler.words import shown

LATEST_SHOWN = 10
ALERTS_SHOWN = 50
# Columns of a mark: a busy environment has thousands of deployments in 30 days.
MARKED = ("uuid", "number", "state", "started_at", "control", "verdict__verdict")
# Samples of a deployment come for at most so long after its start.
LONGEST = timedelta(days=2)

# Without requests there is no latency, whatever the sample says.
LATENCY = "CASE WHEN requests_per_sec > 0 OR latency_p95 > 0 THEN latency_p95 END"
# Of a canary: the rollout decides how much of the traffic it gets.
TRAFFIC = "CASE WHEN deployment_id IS NULL OR deployment_id <> ALL(%(shared)s) THEN requests_per_sec END"
KNOWN = [{"latency_p95": LATENCY, "requests_per_sec": TRAFFIC}.get(metric, metric) for metric in METRICS]
# A filter, because least() ignores NULL. The times select partitions; the phases allow to use the index of environment,
# phase and time.
BUCKETS = """
SELECT date_bin(make_interval(secs => %(bucket_s)s), collected_at, %(origin)s) AS bucket,
    width_bucket(collected_at, %(cuts)s::timestamptz[]) AS part, count(*), min(collected_at), max(collected_at),
    {levels}
FROM metric_samples {own}
WHERE environment_id = %(environment)s AND phase = ANY(%(phases)s)
    AND collected_at >= %(since)s AND collected_at < %(until)s
    AND "group" = '{group}' AND NOT ({nothing})
GROUP BY bucket, part ORDER BY bucket, part
"""


@dataclass(frozen=True, slots=True)
class Collecting:
    """What is known where a baseline is expected and there is no sample.

    heartbeat_at: the latest one of a poller; at_work: whether a poller is at work; ended_at, answer: of the last
    collection from the endpoint ("": it succeeded); next_at: when the next one is due. None: there is none.
    """

    heartbeat_at: datetime | None
    at_work: bool
    ended_at: datetime | None
    answer: str
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class EnvironmentPage:
    """An environment over a time range.

    buckets: for the charts; rows: longer ones for the table, latest first; samples: their number; collecting: where
    samples are missing.
    """

    environment: Environment
    range: Range
    frame: Frame
    charts: list[Timeline]
    x_ticks: tuple[Any, ...]
    markers: list[Marker]
    zones: list[Zone]
    rows: list[Bucket]
    samples: int
    latest: list[Row]
    policy: Policy | None
    collecting: Collecting | None
    fitted: bool = False
    zoomed: bool = False
    alerts: tuple[tuple[Zone, Alert], ...] = ()

    @property
    def is_live(self) -> bool:
        """Return whether the page updates itself: it shows the last hour."""
        return self.range.name == "1h" and not self.zoomed

    @property
    def query(self) -> str:
        """Return the query of the live part's address: the range that was chosen, "" where none was."""
        return "" if self.fitted else f"?range={self.range.name}"

    @property
    def keeps_less(self) -> bool:
        """Return whether the range starts before the retention."""
        return self.environment.project.effective_retention_days < self.range.days

    @property
    def table(self) -> Iterator[tuple[Bucket, list[tuple[Timeline, Level | None]]]]:
        """Yield each row with the level of each chart."""
        for row in self.rows:
            yield row, [(chart, row.levels[chart.metric]) for chart in self.charts]

    @property
    def has_areas(self) -> bool:
        return any(chart.areas for chart in self.charts)

    @property
    def has_limits(self) -> bool:
        return any(chart.limit is not None and chart.limit.y for chart in self.charts)


def environment_page(
    environment: Environment, wanted: Range, *, fitted: bool = False, between: tuple[datetime, datetime] | None = None
) -> EnvironmentPage:
    """Load the page. Five queries, and one each while a deployment is in progress, after a bad one, without samples.

    fitted: a range that is longer than there have been samples begins with the first of them; between: other times
    than those until now.
    """
    frame = Frame.before(timezone.localtime(), wanted.span) if between is None else Frame(*between)
    policy = readable(environment.policy)
    custom = policy.custom_metrics if policy is not None else ()
    begun = deployments_in(environment, frame)
    buckets = buckets_of(
        environment, frame, wanted.bucket_s, custom=[metric.name for metric in custom], deployments=begun
    )
    if fitted and buckets:
        frame = frame.fitted_to(buckets[0].first)
    charts = timelines(
        buckets, frame, interval_s=interval_of(environment, wanted), limits=limits_of(policy), custom=custom
    )
    windows = ExcludedWindow.objects.filter(environment=environment, ends_at__gt=frame.since, starts_at__lt=frame.until)
    return EnvironmentPage(
        environment=environment,
        range=wanted,
        frame=frame,
        charts=charts,
        x_ticks=x_ticks(frame),
        markers=markers_of(
            [
                Mark(frame.place(one.started_at), one.started_at, status_of(one), one)
                for one in begun
                if frame.has(one.started_at)
            ]
        ),
        zones=zones(list(windows.order_by("starts_at").values_list("starts_at", "ends_at", "reason")), frame),
        rows=rows_of(buckets, wanted.row_s)[::-1],
        samples=sum(bucket.count for bucket in buckets),
        latest=latest_of(environment),
        policy=policy,
        collecting=None if buckets or not environment.effective_baseline_interval_s else collecting(environment),
        fitted=fitted,
        zoomed=between is not None,
        alerts=alerts_in(environment, frame),
    )


def shortest_range(environment: Environment) -> Range:
    """Return the shortest range with samples, DEFAULT_RANGE where there are none. One query, up to five with few."""
    now = timezone.now()
    rows = MetricSample.objects.measured().filter(environment=environment, group=Group.TREATMENT)
    for one in RANGES:
        # As `buckets_of` reads it: whole buckets only.
        since = begin_of(now - one.span, one.bucket_s) + timedelta(seconds=one.bucket_s)
        if rows.filter(phase__in=Phase.values, collected_at__gte=since, collected_at__lt=now).exists():
            return one
    return DEFAULT_RANGE


def collecting(environment: Environment) -> Collecting:
    """Read from the jobs of the environment's baseline why there may be no samples."""
    facts = health.get().facts
    jobs = latest_jobs(environment, timezone.now())
    ended = next((job for job in reversed(jobs) if job.finished_at is not None), None)
    waiting = next((job for job in jobs if job.status in OPEN_STATUSES), None)
    answer = ""
    if ended is not None and ended.status != JobStatus.COMPLETED:
        answer = shown(ended.error_fact, ended.last_error) or ended.get_status_display()
    return Collecting(
        heartbeat_at=facts.get("heartbeat_at"),
        at_work=bool(facts.get("pollers")),
        ended_at=None if ended is None else ended.finished_at,
        answer=answer,
        next_at=None if waiting is None else waiting.scheduled_at,
    )


def interval_of(environment: Environment, wanted: Range) -> float:
    """Return the usual seconds between two samples; at least the length of a bucket."""
    every = environment.effective_baseline_interval_s or settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS
    return float(max(every, wanted.bucket_s))


def buckets_of(
    environment: Environment,
    frame: Frame,
    bucket_s: int,
    *,
    custom: Sequence[str] = (),
    deployments: Sequence[Deployment] = (),
) -> list[Bucket]:
    """Return the samples of the frame in buckets of bucket_s seconds, oldest first, without empty ones.

    custom: names of custom metrics, as a policy has them; deployments: those at whose start buckets end.
    """
    wanted: dict[str, Any] = {
        "environment": environment.pk,
        "phases": [str(phase) for phase in Phase.values],
        # Whole buckets only: the first one must not change with every refresh.
        "since": begin_of(frame.since, bucket_s) + timedelta(seconds=bucket_s),
        "until": frame.until,
        "bucket_s": bucket_s,
        "origin": ORIGIN,
        "largest": LARGEST,
        "cuts": [one.started_at for one in deployments if frame.has(one.started_at)],
        "shared": [one.pk for one in deployments if one.control is not None],
    }
    with connection.cursor() as cursor:
        cursor.execute(statement(tuple(custom)), wanted)
        return [bucket_from(row, (*METRICS, *custom)) for row in cursor.fetchall()]


@lru_cache(maxsize=64)
def statement(custom: tuple[str, ...]) -> str:
    """Return the query for buckets, with these custom metrics. Their names are identifiers: a policy has no others."""
    own = ", ".join(f'"{name}" float8' for name in custom)
    columns = (*KNOWN, *(f'own."{name}"' for name in custom))
    means = (f"min({m}), avg(least({m}, %(largest)s)) FILTER (WHERE {m} IS NOT NULL), max({m})" for m in columns)
    return BUCKETS.format(
        levels=", ".join(means),
        own=f"LEFT JOIN LATERAL jsonb_to_record(custom_metrics) AS own({own}) ON true" if own else "",
        group=Group.TREATMENT,
        nothing=SAYS_NOTHING,
    )


def bucket_from(row: tuple[Any, ...], metrics: Sequence[str]) -> Bucket:
    start, part, count, first, last, *values = row
    levels: dict[str, Level | None] = {}
    for place, metric in enumerate(metrics):
        low, mean, high = values[3 * place : 3 * place + 3]
        # Rounding and clipping must not move the mean outside the measured range.
        levels[metric] = None if low is None else Level(low, min(max(mean, low), high), high)
    return Bucket(start, count, first, last, levels, part)


def limits_of(policy: Policy | None) -> Mapping[str, float]:
    """Return the absolute limits by metric, in its unit."""
    if policy is None:
        return {}
    if isinstance(policy, FixedPolicy):
        return {metric: policy.limit_of(metric).limit * policy.secured_factor for metric in LIMITED_METRICS}
    return dict(policy.limits)


def deployments_in(environment: Environment, frame: Frame) -> list[Deployment]:
    """Return the deployments that may have samples in the frame, oldest first."""
    rows = Deployment.objects.filter(environment=environment).select_related("verdict").only(*MARKED)
    return list(rows.filter(started_at__gte=frame.since - LONGEST, started_at__lt=frame.until).order_by("started_at"))


def alerts_in(environment: Environment, frame: Frame) -> tuple[tuple[Zone, Alert], ...]:
    """Return what fired within the frame, and where that is drawn, the latest first. One query."""
    fired = Alert.objects.filter(environment=environment, starts_at__lt=frame.until).exclude(level="ignored")
    rows = fired.exclude(ends_at__lte=frame.since).order_by("-starts_at")[:ALERTS_SHOWN]
    return tuple(
        (zone, one) for one in rows for zone in zones([(one.starts_at, one.ends_at or frame.until, one.name)], frame)
    )


def latest_of(environment: Environment) -> list[Row]:
    """Return the latest deployments, regardless of the range."""
    rows = with_verdict(Deployment.objects.filter(environment=environment))
    found = list(rows.order_by("-started_at")[:LATEST_SHOWN])
    for one in found:
        one.environment, one.project = environment, environment.project
    counts = samples_so_far([one for one in found if is_in_progress(one)])
    findings = findings_of(found)
    return [Row(one, counts.get(one.pk, 0), findings.get(one.pk, "")) for one in found]
