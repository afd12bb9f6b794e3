"""Values of the analysis. Pure: no Django, no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from explain.facts import Fact, Param

METRICS = ("requests_per_sec", "latency_p95", "error_rate", "cpu_usage", "memory_usage")

OK: Final = "ok"
WARNING: Final = "warning"
ROLLBACK: Final = "rollback_recommended"
VerdictName = Literal["ok", "warning", "rollback_recommended"]
VERDICTS: tuple[VerdictName, ...] = (OK, WARNING, ROLLBACK)

# Where no source counts requests, error rates are compared unweighted: as if each sample was of so many.
ASSUMED_REQUESTS: Final = 600.0

# Among the custom metrics of a sample: of how many journeys its error rate is (metrics/payload.py).
ERROR_ASKS: Final = "error_rate_asks"

# Origin of a compared sample.
Origin = Literal["pre", "baseline", "history", "post"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured at one instant; a metric is None where the source does not know it.

    collected_at is aware UTC; requests_per_sec ≥ 0, of all instances together; latency_p95 in ms ≥ 0, None also where
    there was no request to time; error_rate, cpu_usage and memory_usage are ratios 0..1. origin: pre (at trigger),
    baseline (before, between deployments), history (POST of earlier good deployments), post (after finish). custom:
    further metrics by name, in units of their own; instances: how many instances the sample covers.
    """

    collected_at: datetime
    requests_per_sec: float | None = None
    latency_p95: float | None = None
    error_rate: float | None = None
    cpu_usage: float | None = None
    memory_usage: float | None = None
    origin: Origin = "post"
    custom: Mapping[str, float] = field(default_factory=dict)
    instances: int | None = None

    @property
    def latency(self) -> float:
        """Return the p95 in ms; 0.0 where no request was timed."""
        return (self.latency_p95 or 0.0) if self.requests_per_sec is None or self.requests_per_sec > 0.0 else 0.0

    def knows(self, metric: str) -> bool:
        """Return whether the source measured the metric. No latency of no requests is known."""
        if metric == "latency_p95":
            return self.latency_p95 is not None or self.requests_per_sec == 0.0
        return metric in self.custom if metric not in METRICS else getattr(self, metric) is not None


def custom_name(metric: str) -> Fact:
    """Return the name of a custom metric as words."""
    return Fact("custom_name", {"name": metric.replace("_", " ")})


def amount(value: float, *, unit: str, kind: str) -> Fact:
    """Return a value of a custom metric with its unit; a share is written in per cent."""
    if kind == "ratio":
        return Fact("custom_share", {"value": value})
    return Fact("custom_amount", {"value": value, "unit": unit}) if unit else Fact("custom_number", {"value": value})


def named(metric: str) -> Fact:
    """Return the name of any metric, as in a sentence."""
    return Fact(f"metric.{metric}") if metric in METRICS else custom_name(metric)


def values_of(samples: Sequence[Sample], metric: str) -> list[float]:
    """Return the known values of a metric; a sample without requests has no latency."""
    if metric == "latency_p95":
        return [value for sample in samples if (value := sample.latency) > 0.0]
    if metric not in METRICS:
        return [sample.custom[metric] for sample in samples if metric in sample.custom]
    return [value for sample in samples if (value := getattr(sample, metric)) is not None]


@dataclass(frozen=True, slots=True)
class Miss:
    """A collection without a sample.

    Due time, reason (a code such as http_5xx, timeout, refused, invalid_payload, unauthorized, expired, cancelled),
    phase and place in the window (0-based). detail: the whole failure, with the first lines of the answer if there was
    one that may be shown.
    """

    scheduled_at: datetime | None
    reason: str
    phase: Literal["pre", "post"] = "post"
    sequence_index: int = 0
    detail: Fact | None = None


@dataclass(frozen=True, slots=True)
class EarlierDay:
    """The same minutes of an earlier day: levels by metric, as in Sample.

    before: at the time of day of PRE; after: at that of POST. A metric without a level then is absent.
    """

    days_ago: int
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What journeys expect of the service, as metrics.sources.base.Expectation; names are of counts in `custom`."""

    name: str
    asked: str
    answered: str
    fact: Fact
    earlier: tuple[str, ...] = ()
    after_only: bool = False

    def counted(self, sample: Sample) -> tuple[float, float]:
        """Return how often it was not so, and how often that could be seen."""
        seen = sample.custom.get(self.asked, 0.0) - sum(sample.custom.get(name, 0.0) for name in self.earlier)
        known = self.name in sample.custom and seen > 0.0
        return (min(sample.custom[self.name], seen), seen) if known else (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert of somebody else about the service, which fired in the window.

    ended_at: None while it fires; before: whether it fired before the deployment as well.
    """

    name: str
    severity: str
    critical: bool
    started_at: datetime
    ended_at: datetime | None = None
    before: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """The planned observation, to judge how complete the evidence is.

    expected: number of POST samples planned; interval_s: seconds between them; settle_s: seconds between
    finish and the window, which starts an interval before its first sample; evaluated_at: time of judging;
    started_at, finished_at: of the deployment, if known. final is false while samples are still to come.
    earlier_days: newest first. bad_predecessor: number of the deployment whose window PRE was taken in, if that one was
    judged bad. endpoint_answered_before: whether the environment's endpoint ever answered before this deployment.
    control_before, control_after: samples of the control group, which kept the old version, oldest first; has_control:
    whether the deployment named one; control_problem: why it gave less than it could.
    expectations: what journeys expect of the service. alerts: those that fired since the deployment began.
    """

    expected: int = 5
    interval_s: float = 60.0
    evaluated_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    misses: tuple[Miss, ...] = ()
    final: bool = True
    earlier_days: tuple[EarlierDay, ...] = ()
    bad_predecessor: int | None = None
    endpoint_answered_before: bool = True
    settle_s: float = 0.0
    control_before: tuple[Sample, ...] = ()
    control_after: tuple[Sample, ...] = ()
    has_control: bool = False
    control_problem: Fact | None = None
    expectations: tuple[Expectation, ...] = ()
    alerts: tuple[Alert, ...] = ()

    @property
    def counts(self) -> tuple[str, ...]:
        """Return the names of what is counted of journeys, among the custom metrics of samples."""
        names = (name for one in self.expectations for name in (one.name, one.asked, one.answered, *one.earlier))
        return tuple(dict.fromkeys((ERROR_ASKS, *names)))

    @property
    def starts_at(self) -> datetime | None:
        """When measuring starts: settle_s after finish; None where that is unknown."""
        return self.finished_at and self.finished_at + timedelta(seconds=self.settle_s)


# The rule of a check that counts failed collections as evidence: the endpoint stopped answering. No metric has a level.
UNREACHABLE: Final = "endpoint_stopped_answering"
# The endpoint never answered, neither before the deployment nor since: nothing is known about the service.
NOT_SET_UP: Final = "endpoint_not_set_up"
# Faster and idler than any work could become: the check is about the service, not about its latency or cpu.
TOO_GOOD: Final = "too_good"

# The rules of checks of journeys: of all their steps together, and of one expectation.
JOURNEYS: Final = "failed_journeys"
EXPECTATION: Final = "expectation"

# The rule of a check of alerts that others sent. No metric has a level.
ALERTS: Final = "alerts"
# The rule of checks of custom metrics.
CUSTOM: Final = "custom_metric"

CheckOutcome = Literal["ok", "warning", "critical", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One rule applied to one metric, with every number needed to recompute it.

    observed and baseline: the two levels compared, in the metric's unit, None where unknown; spread: of the baseline;
    limit: the threshold; share, tolerance: of POST samples beyond it, 0..1; margin: multiple of the threshold, 1.0 =
    exactly at it; details: other values of the rule, JSON only. code, params: result, see `fact`.
    """

    metric: str
    rule: str
    outcome: CheckOutcome
    code: str
    params: dict[str, Param] = field(default_factory=dict)
    observed: float | None = None
    baseline: float | None = None
    spread: float | None = None
    limit: float | None = None
    share: float | None = None
    tolerance: float | None = None
    margin: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.outcome in ("warning", "critical")

    @property
    def fact(self) -> Fact:
        """Return the result: the code with the numbers of the check, its details and params."""
        levels = {name: getattr(self, name) for name in ("metric", *LEVELS)}
        details = {name: value for name, value in self.details.items() if not isinstance(value, list)}
        if {"over", "samples"} <= details.keys():
            details["samples_over"] = samples_over(details["over"], details["samples"])
        return Fact(self.code, {**levels, **details, **self.params})


# Numbers of a check.
LEVELS = ("observed", "baseline", "limit", "share", "tolerance", "margin")


def samples_over(over: int, count: int) -> Fact:
    """Return the fact "3 of 5 samples"."""
    return Fact("samples_over" if count != 1 else "one_sample_over", {"n": over, "count": count})


@dataclass(frozen=True, slots=True)
class QualityIssue:
    """An issue of the data: code, penalty of the score (0..1), and fact."""

    code: str
    fact: Fact
    penalty: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of the data: score 0..1 and the issues that lowered it."""

    score: float
    issues: tuple[QualityIssue, ...] = ()


Healthy = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the service is healthy at the end of the window, whatever the deployment changed; and why not."""

    healthy: Healthy = "unknown"
    reasons: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Basis:
    """What a verdict rests on.

    requests, requests_before: judged requests of POST and PRE, about, None where no sample counted any; pre_age_s:
    seconds from the newest PRE sample to the first POST sample, None without PRE; exercised: whether requests reached
    the new version, None where that is not known; doubts: why the verdict is not conclusive; unmeasured: metrics that
    the judge could not look at, because no sample has them on both sides; instances, instances_before: how many
    instances answered at the end of POST and of PRE, None where that is not known.
    """

    requests: float | None = 0.0
    requests_before: float | None = 0.0
    pre_age_s: float | None = None
    exercised: bool | None = None
    doubts: tuple[Fact, ...] = ()
    unmeasured: tuple[str, ...] = ()
    instances: int | None = None
    instances_before: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a deployment: what it changed; beside it whether the service is healthy, and what both rest on.

    confidence 0..1: probability that it is right; conclusive: whether the evidence supports it; score: 0 = healthy …
    1 = roll back; early: issued before the window ended.
    """

    verdict: VerdictName
    confidence: float
    conclusive: bool
    score: float
    summary: Fact
    checks: tuple[Check, ...]
    quality: Quality
    policy: dict[str, Any]
    early: bool = False
    health: Health = Health()
    basis: Basis = Basis()

    @property
    def failed_metrics(self) -> tuple[str, ...]:
        """Return metrics with a warning or critical check, in the order of METRICS; custom ones follow."""
        failed = {check.metric: None for check in self.checks if check.failed}
        return (*(metric for metric in METRICS if metric in failed), *(name for name in failed if name not in METRICS))


Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Hint:
    """A debug hint (SDH): probable cause, effect on users, next steps.

    text_key: the key of its texts (analysis/texts/hints.py), which params fill; roll_back: the verdict recommends it.
    metric: the leading one, whose unit observed and threshold have (None for hints about the data); metrics: all that
    the hint explains; confidence 0..1; evidence: what it rests on; numbers: the same as JSON values, by metric.
    """

    text_key: str
    severity: Severity
    confidence: float
    metric: str | None = None
    observed: float | None = None
    threshold: float | None = None
    params: dict[str, Param] = field(default_factory=dict)
    evidence: tuple[Fact, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    roll_back: bool = False

    @property
    def code(self) -> str:
        """Return the hint's code: the key without its variant."""
        return self.text_key.partition(".")[0]
