"""The history import: judge deployments of the last weeks on what an environment's sources know of that time.

A list of tags or commits is stored as past deployments; a chain of jobs judges them, oldest first, a few at once.
Nothing else reads them: no channel, gate, figure or comparison.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from analysis.deployment_list import MOST, OLDEST, Listed
from analysis.earlier_days import Period, custom_levels, levels_from, widened
from analysis.evidence import BASELINE_SPAN, Evidence, ended_ok, known, observed_until
from analysis.judge.types import METRICS, EarlierDay, Miss, Origin, Sample, Window
from analysis.models import PastDeployment, VerdictName
from analysis.recorded import hint_columns, verdict_json
from analysis.services import Judgement, assess, evidence_json
from deployments.models import Deployment
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.collecting import database_time, endpoint_of
from metrics.fetching import shared_fetcher
from metrics.measuring import EARLIER_DAYS, STEP_S, history_of
from metrics.payload import Metrics
from metrics.sources import RANGED_KINDS
from metrics.sources.base import Asking, Past
from metrics.sources.http_endpoint import Configured, Endpoint
from projects.models import Environment, ExcludedWindow
from projects.policy import Policy, policy_from_dict
from scheduler.models import JobStatus, ScheduledJob
from scheduler.queue import NewJob, database_now, enqueue
from scheduler.recurring import recurring
from scheduler.registry import Ended, Job, JobError, job_kind
from scheduler.retry import RetryPolicy

KIND = "judge_past"
# So many are judged by one job: their queries are sent together.
AT_ONCE = 10
# A tag is made before its pipeline runs.
USUALLY_TAKES = timedelta(minutes=5)
LONGEST_TAKES = timedelta(hours=6)
RETRY = RetryPolicy((2.0, 10.0))


class CannotBackfill(ExplainedError):
    """The environment has no source that knows the past, too much is stored, or a window is not over."""


@dataclass(frozen=True, slots=True)
class Progress:
    """total, judged, failed: past deployments of an environment; verdicts: how many of each; unsure: not conclusive."""

    total: int
    judged: int
    failed: int
    verdicts: Mapping[str, int]
    unsure: int

    @property
    def waiting(self) -> int:
        return self.total - self.judged - self.failed

    @property
    def percent(self) -> int:
        return 100 * (self.total - self.waiting) // self.total if self.total else 100


# --- what people do --------------------------------------------------------------------------------------------------


def add(environment: Environment, listed: Sequence[Listed], *, takes: timedelta = USUALLY_TAKES) -> int:
    """Store the deployments of a list that are not stored yet, and have them judged; return how many are new.

    Those of the list that were stopped, could not be judged, or took another time are judged as well.
    Raises CannotBackfill.
    """
    with transaction.atomic():
        environment = (
            Environment.objects.select_for_update(no_key=True).select_related("project").get(pk=environment.pk)
        )
        if not RANGED_KINDS.intersection(environment.source_kinds):
            raise CannotBackfill("backfill_without_source", kinds=", ".join(sorted(RANGED_KINDS)))
        rows = PastDeployment.objects.filter(environment=environment)
        there = set(rows.values_list("name", "deployed_at"))
        new = [one for one in listed if (one.name, one.at) not in there]
        if len(there) + len(new) > MOST:
            raise CannotBackfill("list_long", n=len(there) + len(new), most=MOST)
        past = [
            PastDeployment(
                environment=environment,
                name=one.name,
                commit_sha=one.commit_sha,
                deployed_at=one.at,
                takes_s=int(takes.total_seconds()),
                window_samples=environment.project.effective_window_minutes,
                interval_s=settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS,
                settle_s=environment.settle_s,
            )
            for one in new
        ]
        now = database_now()
        # A verdict is final: none on half a window.
        if unfinished := next((one for one in past if one.ends_at > now), None):
            until = unfinished.ends_at.isoformat(timespec="seconds")
            raise CannotBackfill("backfill_unfinished", name=unfinished.name, until=until)
        PastDeployment.objects.bulk_create(past)
        wanted = {(one.name, one.at) for one in listed}
        left = rows.filter(judged_at__isnull=True, problem__isnull=False).values_list("pk", "name", "deployed_at")
        ask(rows.filter(pk__in=[pk for pk, *of in left if tuple(of) in wanted]))
        changed = rows.exclude(takes_s=int(takes.total_seconds())).values_list("pk", "name", "deployed_at")
        pks = [pk for pk, *of in changed if tuple(of) in wanted]
        ask(rows.filter(pk__in=pks), takes_s=int(takes.total_seconds()))
        go_on([environment.pk])
    return len(new)


def ask(rows: QuerySet[PastDeployment], **changes: Any) -> None:
    """Have them judged from now on: what a job under way finds of them is not stored any more."""
    rows.update(judged_at=None, problem=None, asked_at=Now(), **changes)


def judge_again(environment: Environment) -> None:
    """Have all past deployments of the environment judged by its policy of now."""
    with transaction.atomic():
        Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)
        ask(PastDeployment.objects.filter(environment=environment))
        go_on([environment.pk])


def stop(environment: Environment) -> None:
    """Leave those that are not judged yet as they are."""
    waiting_of([environment.pk]).update(problem=Fact("backfill_stopped").to_json())


def clear(environment: Environment) -> None:
    """Delete all past deployments of the environment."""
    PastDeployment.objects.filter(environment=environment).delete()


def progress_of(environment: Environment) -> Progress:
    """Return how far the import is, and what it found. One query."""
    counted: dict[str, int] = PastDeployment.objects.filter(environment=environment).aggregate(
        total=Count("pk"),
        judged=Count("pk", filter=Q(judged_at__isnull=False)),
        failed=Count("pk", filter=Q(judged_at__isnull=True, problem__isnull=False)),
        unsure=Count("pk", filter=Q(judged_at__isnull=False, conclusive=False)),
        **{name: Count("pk", filter=Q(judged_at__isnull=False, verdict=name)) for name in VerdictName.values},
    )
    verdicts = {name: counted.pop(name) for name in VerdictName.values}
    return Progress(verdicts=verdicts, **counted)


# --- judging ---------------------------------------------------------------------------------------------------------


def waiting_of(environments: Iterable[int]) -> QuerySet[PastDeployment]:
    return PastDeployment.objects.filter(environment__in=environments, judged_at__isnull=True, problem__isnull=True)


def go_on(environments: Sequence[int]) -> None:
    """Enqueue a job for each of them that has something to judge and no job. In the caller's transaction."""
    going = ScheduledJob.objects.open().filter(job_type=KIND, job_metadata__environment_id__in=list(environments))
    taken = set(going.values_list("job_metadata__environment_id", flat=True))
    wanted = waiting_of(set(environments) - taken).values_list("environment_id", "environment__project_id").distinct()
    enqueue(NewJob(KIND, fair_key=project, metadata={"environment_id": pk}) for pk, project in wanted)


@recurring("backfill_sweep", every_s=60)
def sweep() -> None:
    """Continue chains that broke off; delete what is too old."""
    PastDeployment.objects.filter(deployed_at__lt=database_now() - OLDEST - timedelta(days=1)).delete()
    waiting = PastDeployment.objects.filter(judged_at__isnull=True, problem__isnull=True)
    go_on(list(waiting.values_list("environment_id", flat=True).distinct()))


@dataclass(frozen=True, slots=True)
class Batch:
    """What a job judges: past deployments, oldest first; bad: times in which the service was not as usual."""

    endpoint: Endpoint
    policy: Policy
    rows: Sequence[PastDeployment]
    bad: Sequence[Period]


@dataclass(frozen=True, slots=True)
class Measured:
    """What sources know of a deployment. days: by how long ago."""

    before: Past = ()
    after: Past = ()
    days: Mapping[int, Past] = field(default_factory=dict)
    problem: Fact | None = None


def load(jobs: Sequence[Job]) -> Mapping[int, Batch]:
    found = {}
    for job in jobs:
        environment = (
            Environment.objects.select_related("project")
            .filter(pk=job.metadata.get("environment_id", 0), deleting_at=None, project__deleting_at=None)
            .first()
        )
        if environment is None:
            continue
        rows = list(waiting_of([environment.pk]).order_by("deployed_at", "pk")[:AT_ONCE])
        if not rows:
            continue
        sources = [Configured(row.pk, row.kind, row.config) for row in environment.sources.all()]
        endpoint = replace(endpoint_of(environment), sources=sources)
        found[job.id] = Batch(endpoint, policy_of(environment), rows, bad_times(environment, rows))
    return found


def policy_of(environment: Environment) -> Policy:
    try:
        return policy_from_dict(environment.policy)
    except ValueError:
        return policy_from_dict({})


def bad_times(environment: Environment, rows: Sequence[PastDeployment]) -> list[Period]:
    """Return the times that these are not to be compared with: windows that did not end well, and excluded ones."""
    since = rows[0].deployed_at - timedelta(days=max(EARLIER_DAYS)) - LONGEST_TAKES
    past = PastDeployment.objects.filter(environment=environment, deployed_at__gte=since, judged_at__isnull=False)
    found = [(one.deployed_at, one.ends_at) for one in past.defer("outcome", "hints", "samples") if not is_good(one)]
    own = Deployment.objects.filter(environment=environment, started_at__gte=since, started_at__lte=rows[-1].ends_at)
    found += [
        (one.started_at, observed_until(one)) for one in own.select_related("verdict__feedback") if not ended_ok(one)
    ]
    excluded = ExcludedWindow.objects.filter(environment=environment, ends_at__gte=since)
    return [*found, *excluded.values_list("starts_at", "ends_at")]


def is_good(one: PastDeployment) -> bool:
    return one.verdict == VerdictName.OK and bool(one.conclusive)


def record(done: Sequence[tuple[Job, Sequence[PastDeployment]]]) -> None:
    """Store the verdicts, unless somebody has ended the import meanwhile."""
    for _job, rows in done:
        for row in rows:
            values = {name: getattr(row, name) for name in RESULT}
            at = Now() if row.problem is None else None
            waiting_of([row.environment_id]).filter(pk=row.pk, asked_at=row.asked_at).update(**values, judged_at=at)


RESULT = ("verdict", "confidence", "conclusive", "outcome", "hints", "samples", "problem")


def follow_up(jobs: Sequence[Ended]) -> None:
    """Enqueue the next job of each environment. Where all attempts failed, those that wait are told why."""
    rows = ScheduledJob.objects.filter(pk__in=[job.id for job in jobs])
    found = list(rows.values_list("job_metadata__environment_id", "status", "error_fact"))
    for pk, status, fact in found:
        if status != JobStatus.COMPLETED:
            waiting_of([pk]).update(problem=fact or Fact("backfill_stopped").to_json())
    go_on([pk for pk, _, _ in found])


@job_kind(
    KIND, retry=RETRY, prepare=load, record=record, on_finished=follow_up, external=True, apart=True, max_concurrency=2
)
async def judge_past(job: Job, batch: Batch | None) -> Sequence[PastDeployment]:
    """Ask for all times of the batch at once, then judge them one after another. Raises JobError."""
    if batch is None:
        return ()
    now = database_time(job)
    asking = Asking(shared_fetcher(), now, now, batch.endpoint)
    measured = await asyncio.gather(*(measure_past(batch, one, asking) for one in batch.rows))
    bad = list(batch.bad)
    for row, found in zip(batch.rows, measured, strict=True):
        if found.problem is not None:
            row.problem = found.problem.to_json()
            continue
        # Not in a thread: ten of them take 50 ms.
        judge_on(row, found, batch.policy, bad=bad, now=now)
        if not is_good(row):
            bad.append((row.deployed_at, row.ends_at))
    return batch.rows


async def measure_past(batch: Batch, row: PastDeployment, asking: Asking) -> Measured:
    """Return what sources know of the time before, of the window, and of the same minutes of earlier days.

    Raises JobError where they do not answer.
    """
    first, last = row.window_starts_at + timedelta(seconds=row.interval_s), row.ends_at
    begin, step = row.deployed_at - BASELINE_SPAN, timedelta(seconds=STEP_S)
    spans = [(begin, row.deployed_at - step, STEP_S), (first, min(last, asking.now), row.interval_s)]
    spans += [(begin - timedelta(days=days), last - timedelta(days=days), STEP_S) for days in EARLIER_DAYS]
    failures: list[ExplainedError] = []
    before, after, *days = await asyncio.gather(
        *(
            history_of(batch.endpoint.sources, asking, since=since, until=until, step_s=step_s, failures=failures)
            for since, until, step_s in spans
        )
    )
    if failures and not before and not after:
        raise failures[0] if isinstance(failures[0], JobError) else JobError.of(failures[0])
    if not before and not after:
        return Measured(problem=Fact("backfill_no_data"))
    return Measured(before, after, dict(zip(EARLIER_DAYS, days, strict=True)))


def judge_on(row: PastDeployment, found: Measured, policy: Policy, *, bad: Sequence[Period], now: datetime) -> None:
    """Judge what was measured; write the result into the row, unsaved."""
    store_on(row, assess(evidence_of(row, found, policy, bad=bad, now=now)), found)


def evidence_of(
    row: PastDeployment, found: Measured, policy: Policy, *, bad: Sequence[Period], now: datetime
) -> Evidence:
    """Return what the judge gets: as for a deployment of now, whose baseline is the half hour before."""
    interval = timedelta(seconds=row.interval_s)
    start = row.window_starts_at
    post = [(round((at - start) / interval), as_sample(at, metrics, "post")) for at, metrics in found.after]
    there = {place for place, _ in post}
    window = Window(
        expected=row.window_samples,
        interval_s=row.interval_s,
        settle_s=row.settle_s,
        evaluated_at=min(now, row.ends_at),
        started_at=row.deployed_at,
        finished_at=row.finished_at,
        misses=tuple(
            Miss(start + place * interval, "nothing_measured", "post", place)
            for place in range(1, row.window_samples + 1)
            if place not in there
        ),
        earlier_days=earlier_days(row, found, bad),
    )
    pre = tuple(as_sample(at, metrics, "baseline") for at, metrics in found.before if not is_in(at, bad))
    return Evidence(pre=pre, post=tuple(sample for _, sample in post), window=window, policy=policy)


def as_sample(at: datetime, metrics: Metrics, origin: Origin) -> Sample:
    values = {name: known(getattr(metrics, name)) for name in METRICS}
    return Sample(at, origin=origin, custom=dict(metrics.custom), instances=metrics.instances, **values)


def is_in(at: datetime, periods: Sequence[Period]) -> bool:
    return any(begin <= at <= end for begin, end in periods)


def earlier_days(row: PastDeployment, found: Measured, bad: Sequence[Period]) -> tuple[EarlierDay, ...]:
    """Return the levels at the same minutes of the days before, without times that are not to be compared with."""
    before = widened(row.deployed_at - BASELINE_SPAN, row.deployed_at)
    after = widened(row.window_starts_at, row.ends_at)
    days = []
    for number, past in found.days.items():
        ago = timedelta(days=number)
        kept = [(at, metrics) for at, metrics in past if not is_in(at, bad)]
        levels = [
            means([metrics for at, metrics in kept if begin <= at + ago <= end]) for begin, end in (before, after)
        ]
        if all(levels):
            days.append(EarlierDay(number, *levels))
    return tuple(days)


def means(metrics: Sequence[Metrics]) -> dict[str, float]:
    """Return the levels, by the rules of metrics/levels.py."""
    found: list[float | None] = []
    for name in METRICS:
        values = [
            value
            for one in metrics
            if (value := known(getattr(one, name))) is not None
            if name != "latency_p95" or (value > 0 and (one.requests_per_sec is None or one.requests_per_sec > 0))
        ]
        found.append(sum(values) / len(values) if values else None)
    customs = json.dumps([one.custom for one in metrics if one.custom])
    return levels_from(found) | custom_levels(customs)


def store_on(row: PastDeployment, judgement: Judgement, found: Measured) -> None:
    """Write the result into the unsaved row."""
    verdict = judgement.verdict
    row.verdict, row.confidence, row.conclusive = verdict.verdict, verdict.confidence, verdict.conclusive
    row.outcome = {
        **verdict_json(verdict),
        "policy": verdict.policy,
        "evidence": evidence_json(judgement.evidence),
    }
    row.hints = [hint_columns(hint) for hint in judgement.hints]
    kept = {sample.collected_at for sample in judgement.evidence.pre}
    row.samples = [
        {
            "phase": phase,
            "at": at.isoformat(),
            **{name: known(getattr(metrics, name)) for name in METRICS},
            "custom": metrics.custom,
            "instances": metrics.instances,
            "left_out": phase == "pre" and at not in kept,
        }
        for phase, past in (("pre", found.before), ("post", found.after))
        for at, metrics in past
    ]
