"""Load the evidence of a deployment: samples, misses, window and policy. Records why a sample was left out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db.models import Exists, OuterRef, Q

from analysis.earlier_days import LONGEST_DEPLOYMENT, Period, load_earlier_days, times_of_day
from analysis.judge.shares import at_share
from analysis.judge.types import METRICS, OK, Alert, Expectation, Miss, Origin, Sample, Window
from analysis.models import DeploymentVerdict, Feedback, Step, VerdictName
from analysis.recorded import LeftOut
from deployments.models import Deployment, Kind
from explain.facts import Fact, NotAFact
from metrics.measuring import opened
from metrics.models import Alert as StoredAlert
from metrics.models import Group, MetricLevel, MetricSample, Phase, Source
from metrics.sources import EXPECTING_KINDS
from metrics.sources.base import Expectation as SourceExpectation
from projects.models import ExcludedWindow
from projects.policy import Policy, policy_from_dict
from scheduler.models import JobStatus, ScheduledJob
from scheduler.registry import JobError

logger = structlog.get_logger(__name__)

# The baseline that a deployment is compared with.
BASELINE_SPAN = timedelta(minutes=30)
# A PRE sample counts if it arrived this soon after trigger; `wait_for_pre` waits as long.
PRE_WITHIN = timedelta(seconds=10)
# With fewer PRE samples, those of the last good deployments are added.
THIN_PRE = 5
HISTORY_SPAN = timedelta(days=14)
HISTORY_DEPLOYMENTS = 3
HISTORY_SAMPLES = 15
# The samples of step 2 have the places 201, 202, … of their phase.
PLACES_OF_STEP = 100
# Within it samples have become levels, also where pollers were away for hours.
LEVELS_LAG = timedelta(days=1)
# Alerts of one window; the earliest.
MOST_ALERTS = 50
# A failed collection with the first lines of what the endpoint answered (metrics/texts.py).
FAILED_AND_ANSWERED = "failed_and_answered"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Input of the judge for one deployment.

    excluded: samples left out of PRE; compared_before: of a rollback, number of the deployment before which PRE was
    taken, None of any other.
    """

    pre: tuple[Sample, ...]
    post: tuple[Sample, ...]
    window: Window
    policy: Policy
    policy_number: int | None = None
    excluded: tuple[LeftOut, ...] = ()
    history_of: tuple[int, ...] = ()
    compared_before: int | None = None


def load_evidence(
    deployments: Sequence[Deployment], now: datetime, *, policy: Policy | None = None
) -> dict[int, Evidence]:
    """Return the evidence by deployment id. now: time of the verdict; policy: replaces their own."""
    replaced = load_replaced(deployments)
    involved = [*deployments, *replaced.values()]
    rows = MetricSample.objects.of_all(involved, groups=Group.values).order_by("collected_at", "id")
    own = group((one for one in rows if one.group == Group.TREATMENT), "deployment_id")
    control = group((one for one in rows if one.group == Group.CONTROL), "deployment_id")
    missed = (JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELLED)
    collections = ("pre_collect", "post_collect")
    lost = group(
        ScheduledJob.objects.filter(deployment__in=deployments, job_type__in=collections, status__in=missed),
        "deployment_id",
    )
    baselines = load_baselines(involved)
    neighbours = load_neighbours(involved)
    left_out = load_left_out(involved, neighbours)
    expectations = load_expectations(deployments)
    alerts = load_alerts(deployments)
    found = {}
    for deployment in deployments:
        samples = own.get(deployment.pk, [])
        periods = left_out.get(deployment.environment_id, [])
        baseline = baselines.get(deployment.environment_id, [])
        if bad := replaced.get(deployment.pk):
            pre, excluded = pre_samples(bad, own.get(bad.pk, []), baseline, periods)
            excluded += while_bad(deployment, bad, samples, baseline)
        else:
            pre, excluded = pre_samples(deployment, samples, baseline, periods)
        history: list[MetricSample] = load_history(deployment) if len(pre) < THIN_PRE else []
        stored = {(sample.phase, sample.sequence_index) for sample in samples}
        # One that was lost may have been filled in later (metrics/filling.py).
        missing = [job for job in lost.get(deployment.pk, []) if (job.phase, job.sequence_index) not in stored]
        window = window_of(deployment, missing, now)
        found[deployment.pk] = Evidence(
            pre=(*pre, *(as_value(sample, "history") for sample in history)),
            post=tuple(as_value(sample, "post") for sample in samples if sample.phase == Phase.POST),
            # What a rollback is compared with was measured before its predecessor.
            window=replace(
                window,
                bad_predecessor=None if bad else bad_predecessor(deployment, neighbours),
                control_before=control_of(control.get(deployment.pk, []), Phase.PRE),
                control_after=control_of(control.get(deployment.pk, []), Phase.POST),
                has_control=deployment.control is not None,
                control_problem=problem_of_control(deployment),
                expectations=tuple(expectations.get(deployment.environment_id, ())),
                alerts=alerts_of(deployment, alerts.get(deployment.environment_id, ()), now),
            ),
            policy=policy or policy_of(deployment),
            policy_number=deployment.policy_version.number if deployment.policy_version else None,
            excluded=tuple(excluded),
            history_of=tuple(sorted({sample.deployment_id for sample in history if sample.deployment_id})),
            compared_before=bad.number if bad else None,
        )
    return with_the_past(deployments, found)


def with_the_past(deployments: Sequence[Deployment], found: dict[int, Evidence]) -> dict[int, Evidence]:
    """Return the evidence with what the environment showed before: levels of earlier days, or whether it ever answered.

    Two queries at most.
    """
    times = [
        (one.environment_id, times_of_day(one, found[one.pk].pre, found[one.pk].post, observed_until(one)))
        for one in deployments
    ]
    days = dict(zip((one.pk for one in deployments), load_earlier_days(times), strict=True))
    silent = [one for one in deployments if not found[one.pk].pre]
    never = {one.pk for one in silent} - answered_before(silent)
    return {
        pk: replace(
            evidence,
            window=replace(evidence.window, earlier_days=days[pk], endpoint_answered_before=pk not in never),
        )
        for pk, evidence in found.items()
    }


def load_expectations(deployments: Iterable[Deployment]) -> dict[int, list[Expectation]]:
    """Return by environment what its journeys expect of the service. One query, none where there are no journeys."""
    asked = {one.environment_id for one in deployments if EXPECTING_KINDS.intersection(one.environment.source_kinds)}
    if not asked:
        return {}
    found: dict[int, list[Expectation]] = {}
    for row in Source.objects.filter(environment_id__in=asked, kind__in=EXPECTING_KINDS).order_by("position", "pk"):
        try:
            kind, config = opened(row.kind, row.config.token)
        except JobError as error:
            logger.error("expectations_unreadable", source=row.pk, error=str(error))
            continue
        known = (asdict_of(one) for one in kind.expectations(config))
        found.setdefault(row.environment_id, []).extend(Expectation(**values) for values in known)
    return found


def load_alerts(deployments: Sequence[Deployment]) -> dict[int, list[StoredAlert]]:
    """Return by environment the alerts that may have fired in the windows of these. One query."""
    since = min((one.started_at for one in deployments), default=None)
    if since is None:
        return {}
    rows = StoredAlert.objects.filter(environment__in={one.environment_id for one in deployments}, seen_at__gte=since)
    return group(rows.exclude(level="ignored").order_by("starts_at", "pk"), "environment_id")


def alerts_of(deployment: Deployment, rows: Iterable[StoredAlert], now: datetime) -> tuple[Alert, ...]:
    """Return the alerts that fired between trigger and the end of the window, or until now: steps come before that."""
    begun, until = deployment.started_at, min(deployment.window_ends_at or now, now)
    found = []
    for row in rows:
        times = [(datetime.fromisoformat(start), _moment(end)) for start, end in row.earlier]
        times.append((row.starts_at, row.ends_at))
        inside = [(start, end) for start, end in times if start <= until and (end is None or end >= begun)]
        if not inside:
            continue
        before = any(start < begun and (end is None or end > begun - BASELINE_SPAN) for start, end in times)
        start, end = inside[-1]
        ended = end if end is not None and end <= until else None
        found.append(Alert(row.name, row.severity, row.level == "critical", start, ended, before))
    return tuple(found[:MOST_ALERTS])


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def asdict_of(expectation: SourceExpectation) -> dict[str, Any]:
    """Return the values of what a source expects."""
    return {one.name: getattr(expectation, one.name) for one in fields(expectation)}


def group(rows: Iterable[Any], name: str) -> dict[int, list[Any]]:
    """Group rows by an attribute, in the given order."""
    groups: dict[int, list[Any]] = {}
    for row in rows:
        groups.setdefault(getattr(row, name), []).append(row)
    return groups


def load_baselines(deployments: Sequence[Deployment]) -> dict[int, list[MetricSample]]:
    """Return by environment the baseline samples of the half hour before each of these deployments."""
    spans = Q(pk__in=[])
    for deployment in deployments:
        since = deployment.started_at - BASELINE_SPAN
        spans |= Q(
            environment_id=deployment.environment_id, collected_at__gte=since, collected_at__lte=deployment.started_at
        )
    own = {"phase": Phase.BASELINE, "group": Group.TREATMENT}
    rows = MetricSample.objects.measured().filter(spans, **own).order_by("collected_at", "id")
    return group(rows, "environment_id")


def load_neighbours(deployments: Sequence[Deployment]) -> dict[int, list[Deployment]]:
    """Return by environment the deployments, with verdict and mark, whose window may touch what precedes these."""
    environments = {deployment.environment_id for deployment in deployments}
    since = min((deployment.started_at for deployment in deployments), default=None)
    if since is None:
        return {}
    rows = Deployment.objects.filter(
        environment_id__in=environments, started_at__gte=since - BASELINE_SPAN - LONGEST_DEPLOYMENT
    )
    return group(rows.select_related("verdict__feedback").order_by("started_at", "pk"), "environment_id")


def load_left_out(
    deployments: Sequence[Deployment], neighbours: dict[int, list[Deployment]]
) -> dict[int, list[tuple[Period, Fact]]]:
    """Return by environment the periods excluded from the baseline, with reasons. neighbours: see load_neighbours."""
    periods: dict[int, list[tuple[Period, Fact]]] = {}
    for others in neighbours.values():
        for other in others:
            if not ended_ok(other):
                period = (other.started_at, observed_until(other))
                why = Fact("left_out.deployment", {"number": other.number})
                periods.setdefault(other.environment_id, []).append((period, why))
    since = min((deployment.started_at for deployment in deployments), default=None)
    if since is None:
        return periods
    environments = {deployment.environment_id for deployment in deployments}
    for window in ExcludedWindow.objects.filter(environment_id__in=environments, ends_at__gte=since - BASELINE_SPAN):
        why = Fact("left_out.by_hand_because", {"reason": window.reason}) if window.reason else Fact("left_out.by_hand")
        periods.setdefault(window.environment_id, []).append(((window.starts_at, window.ends_at), why))
    return periods


def ended_ok(deployment: Deployment) -> bool:
    """Return whether its window shows a healthy service: conclusively ok, and not marked wrong."""
    verdict = getattr(deployment, "verdict", None)
    if verdict is None or verdict.verdict != VerdictName.OK or not verdict.conclusive:
        return False
    feedback = getattr(verdict, "feedback", None)
    return feedback is None or feedback.right


def ended_badly(deployment: Deployment) -> bool:
    """Return whether its window shows a service that is worse than it should be.

    A mark decides where it names the deserved verdict, or calls an ok wrong. Else a conclusive verdict decides, early
    or final. So does a bad predecessor: what was measured in its window cannot be separated from its fault.
    """
    verdict: DeploymentVerdict | None = getattr(deployment, "verdict", None)
    if verdict is None:
        return False
    feedback: Feedback | None = getattr(verdict, "feedback", None)
    if feedback is not None and (feedback.label or verdict.verdict == VerdictName.OK):
        return feedback.label != VerdictName.OK
    given = (verdict.judged.verdict, verdict.standing.verdict)
    found = any(one.verdict != OK and one.conclusive for one in given)
    return found or verdict.standing.judged_on.bad_predecessor is not None


def observed_until(deployment: Deployment) -> datetime:
    """Return the end of the deployment's window."""
    window = timedelta(seconds=deployment.window_samples * deployment.interval_s)
    return deployment.window_ends_at or deployment.started_at + window


def bad_predecessor(deployment: Deployment, neighbours: dict[int, list[Deployment]]) -> int | None:
    """Return the number of the latest deployment that ended badly and in whose window this one began."""
    numbers = [
        other.number
        for other in neighbours.get(deployment.environment_id, [])
        if other.pk != deployment.pk and other.started_at <= deployment.started_at <= observed_until(other)
        if ended_badly(other)
    ]
    return numbers[-1] if numbers else None


def answered_before(deployments: Sequence[Deployment]) -> set[int]:
    """Return those (ids) whose environment ever gave a sample before. One query, none without deployments."""
    if not deployments:
        return set()
    rows = Deployment.objects.filter(pk__in=[deployment.pk for deployment in deployments])
    begins = [deployment.started_at for deployment in deployments]
    place = {"environment_id": OuterRef("environment_id")}
    samples = MetricSample.objects.filter(
        **place,
        phase__in=Phase.values,
        collected_at__lt=OuterRef("started_at"),
        # Constants, for few partitions: older samples have become levels.
        collected_at__range=(min(begins) - LEVELS_LAG, max(begins)),
    )
    levels = MetricLevel.objects.filter(**place, start__lt=OuterRef("started_at"))
    verdicts = DeploymentVerdict.objects.filter(
        deployment__environment_id=OuterRef("environment_id"),
        deployment__started_at__lt=OuterRef("started_at"),
        evidence__post_samples__gt=0,
    )
    answered = rows.filter(Exists(levels) | Exists(samples) | Exists(verdicts))
    return set(answered.values_list("pk", flat=True))


def load_replaced(deployments: Iterable[Deployment]) -> dict[int, Deployment]:
    """Return for each rollback (id) the deployment that replaced the last good one: what preceded that was good.

    A rollback's own PRE shows what it ends. Without a good deployment before it, or with none between, it is compared
    like any other. Two queries for each rollback.
    """
    found = {}
    for deployment in deployments:
        if deployment.kind != Kind.ROLLBACK:
            continue
        earlier = Deployment.objects.filter(
            environment_id=deployment.environment_id, started_at__lt=deployment.started_at
        ).order_by("started_at")
        good = earlier.good().last()
        deployed = earlier.exclude(kind=Kind.VERIFICATION)
        replaced = good and deployed.filter(started_at__gt=good.started_at).first()
        if replaced:
            found[deployment.pk] = replaced
    return found


def while_bad(
    rollback: Deployment, replaced: Deployment, own: Iterable[MetricSample], baseline: Iterable[MetricSample]
) -> list[LeftOut]:
    """Return the samples that any other deployment would be compared with, as left out."""
    since = max(replaced.started_at, rollback.started_at - BASELINE_SPAN)
    between = (one for one in baseline if since < one.collected_at <= rollback.started_at)
    why = Fact("left_out.rolled_back", {"number": replaced.number})
    taken = (*between, *(one for one in own if one.phase == Phase.PRE))
    return [LeftOut(one.phase, one.collected_at, why) for one in taken]


def pre_samples(
    deployment: Deployment,
    own: Sequence[MetricSample],
    baseline: Sequence[MetricSample],
    left_out: Sequence[tuple[Period, Fact]],
) -> tuple[list[Sample], list[LeftOut]]:
    """Return the samples of the service before this deployment, and the left-out ones with reasons."""
    since, until = deployment.started_at - BASELINE_SPAN, deployment.started_at
    before = [sample for sample in baseline if since <= sample.collected_at <= until]
    kept: list[Sample] = []
    excluded: list[LeftOut] = []
    for sample in (*before, *(sample for sample in own if sample.phase == Phase.PRE)):
        why = why_left_out(sample, deployment, left_out)
        if why is None:
            kept.append(as_value(sample, "pre" if sample.phase == Phase.PRE else "baseline"))
        else:
            excluded.append(LeftOut(sample.phase, sample.collected_at, why))
    return kept, excluded


def why_left_out(sample: MetricSample, deployment: Deployment, left_out: Sequence[tuple[Period, Fact]]) -> Fact | None:
    """Return why a sample is not what the deployment is compared with; None if it is."""
    at = sample.collected_at
    if sample.phase == Phase.PRE:
        if deployment.finished_at is not None and at >= deployment.finished_at:
            return Fact("left_out.after_finish")
        if at > deployment.started_at + PRE_WITHIN:
            return Fact("left_out.late", {"seconds": (at - deployment.started_at).total_seconds()})
        if at >= deployment.started_at:
            # Taken at trigger it says how the service is now; others are of a source that can answer for the past.
            return None
    # Its own period starts where its baseline ends.
    periods = (period for period in left_out if period[0][0] < deployment.started_at)
    return next((why for (begin, end), why in periods if begin <= at <= end), None)


def load_history(deployment: Deployment) -> list[MetricSample]:
    """Return POST samples of the environment's last good deployments: conclusively ok, not marked wrong; none that were
    excluded."""
    good = list(
        Deployment.objects.filter(
            environment_id=deployment.environment_id,
            finished_at__lt=deployment.started_at,
            finished_at__gte=deployment.started_at - HISTORY_SPAN,
            # Beside a control group it had a part of the traffic.
            control__isnull=True,
        )
        .good()
        .order_by("-finished_at")
        .values_list("pk", flat=True)[:HISTORY_DEPLOYMENTS]
    )
    if not good:
        return []
    since = deployment.started_at - HISTORY_SPAN
    rows = MetricSample.objects.measured().filter(
        environment_id=deployment.environment_id,
        deployment_id__in=good,
        phase=Phase.POST,
        group=Group.TREATMENT,
        collected_at__gte=since,
    )
    excluded = ExcludedWindow.objects.filter(
        environment_id=OuterRef("environment_id"),
        starts_at__lte=OuterRef("collected_at"),
        ends_at__gte=OuterRef("collected_at"),
    )
    return list(rows.exclude(Exists(excluded)).order_by("-collected_at")[:HISTORY_SAMPLES])


def window_of(deployment: Deployment, lost: Sequence[ScheduledJob], now: datetime) -> Window:
    """Return the planned window and its missing samples."""
    return Window(
        expected=deployment.window_samples,
        interval_s=deployment.interval_s,
        settle_s=deployment.settle_s,
        evaluated_at=now,
        started_at=deployment.started_at,
        finished_at=deployment.finished_at,
        misses=tuple(
            Miss(
                scheduled_at=job.scheduled_at,
                reason=job.error_code or str(job.status),
                phase="pre" if job.job_type == "pre_collect" else "post",
                sequence_index=job.sequence_index,
                detail=detail_of(job),
            )
            for job in sorted(lost, key=lambda job: (job.phase, job.sequence_index))
        ),
    )


def detail_of(job: ScheduledJob) -> Fact | None:
    """Return why the job failed, with the first lines of what the endpoint answered instead of metrics, if any."""
    try:
        why = Fact.from_json(job.error_fact)
    except NotAFact:
        return None
    answered = why.params.get("answered")
    return Fact(FAILED_AND_ANSWERED, {"failure": why, "text": answered}) if answered else why


def as_value(sample: MetricSample, origin: Origin) -> Sample:
    """Convert a stored sample to the judge's value."""
    values = {name: known(getattr(sample, name)) for name in METRICS}
    numbers = ((name, known(value)) for name, value in (sample.custom_metrics or {}).items())
    custom = {name: number for name, number in numbers if number is not None}
    return Sample(sample.collected_at, origin=origin, custom=custom, instances=sample.instances, **values)


def known(value: Any) -> float | None:
    """Return a stored value as a number; None for anything else, such as NaN."""
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def control_of(samples: Iterable[MetricSample], phase: Phase) -> tuple[Sample, ...]:
    """Return the samples of the control group of one phase as the judge's values."""
    origin: Origin = "pre" if phase == Phase.PRE else "post"
    return tuple(as_value(sample, origin) for sample in samples if sample.phase == phase)


def of_step(evidence: Evidence, step: Step, lost: Sequence[ScheduledJob], now: datetime) -> Evidence:
    """Return the evidence of a deployment as that of a step: what was measured since that began. lost: its jobs.

    Without a control group, PRE has the step's share of the traffic.
    """
    places = range(step.number * PLACES_OF_STEP + 1, step.number * PLACES_OF_STEP + step.samples + 1)
    rows = MetricSample.objects.measured().filter(
        environment_id=step.deployment.environment_id,
        deployment_id=step.deployment_id,
        phase=Phase.STEP,
        sequence_index__in=places,
        collected_at__gte=step.starts_at - timedelta(hours=1),
    )
    samples = list(rows.order_by("collected_at", "id"))
    post = tuple(as_value(one, "post") for one in samples if one.group == Group.TREATMENT)
    after = tuple(as_value(one, "post") for one in samples if one.group == Group.CONTROL)
    before = [miss for miss in evidence.window.misses if miss.phase == "pre"]
    misses = [
        Miss(job.scheduled_at, job.error_code or str(job.status), "post", job.sequence_index, detail_of(job))
        for job in lost
        if job.sequence_index in places and job.sequence_index not in {sample.sequence_index for sample in samples}
    ]
    window = replace(
        evidence.window,
        expected=step.samples,
        interval_s=step.interval_s,
        settle_s=0.0,
        evaluated_at=now,
        finished_at=step.starts_at,
        misses=(*before, *misses),
        # They are of the whole traffic.
        earlier_days=(),
        control_after=after,
        alerts=tuple(one for one in evidence.window.alerts if one.ended_at is None or one.ended_at >= step.starts_at),
    )
    shared = evidence.window.has_control
    pre = evidence.pre if shared else at_share(evidence.pre, post, step.percent / 100, evidence.policy)
    return replace(evidence, pre=tuple(pre), post=post, window=window)


def problem_of_control(deployment: Deployment) -> Fact | None:
    try:
        return Fact.from_json(deployment.control_problem)
    except NotAFact:
        return None


def policy_of(deployment: Deployment) -> Policy:
    """Return the policy sent with its trigger, else the environment's; the default if unreadable."""
    pinned = deployment.policy_version
    data = pinned.policy if pinned is not None else deployment.environment.policy
    try:
        return policy_from_dict(data)
    except ValueError as error:
        logger.error("policy_unreadable", environment=str(deployment.environment), error=str(error))
        return policy_from_dict({})
