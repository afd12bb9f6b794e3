"""State beside a verdict whether the service is healthy now, and what the verdict rests on. Pure.

A verdict says what the deployment changed. A service that was failing before and fails as before was not changed, and
is not healthy; one without requests after the deployment was not exercised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from analysis.judge.levels import mean_of
from analysis.judge.reasons import SERVICE_DOWN, distinct_reasons
from analysis.judge.types import (
    ALERTS,
    ASSUMED_REQUESTS,
    ERROR_ASKS,
    METRICS,
    OK,
    ROLLBACK,
    TOO_GOOD,
    WARNING,
    Basis,
    Check,
    Health,
    Miss,
    Sample,
    Verdict,
    Window,
    named,
    values_of,
)
from explain.facts import Fact, Param
from projects.policy import AdaptivePolicy, Policy

# Values of no healthy service: (warning, rollback) where there is no PRE; from the first one on a service is not
# healthy. Errors: the highest accepted standing rate is slightly over 1 %, so the thresholds of errors are added to it.
# Latency in ms: users leave after seconds.
SANITY = {
    "error_rate": (0.018, 0.046),
    "latency_p95": (2_000.0, 6_000.0),
    "cpu_usage": (0.93, None),
    "memory_usage": (0.93, 0.975),
}
# Fewer requests than this in a whole window: probes and chance, not users.
FEW_REQUESTS = 10.0
# The end of a window, as the judge looks at it: this share of its samples, at least two.
END_SHARE = 0.4
# Collections failed in a row by the service, up to the end, that are no chance.
SILENT_AT_END = 2
# Standard deviations by which failed requests must exceed the limit: nine of ten that do are no chance.
SURE = 1.25
# So many errors expected at the end, and none there: by chance once in twenty.
TELLING = 3.0
# Rules that count samples of the whole window: what they found may be over at its end.
COUNTING_RULES = frozenset({"secured_limit", "below_pre_mean", "hard_limit"})
# What users notice: without any of these nothing can be called ok.
USER_FACING = ("requests_per_sec", "latency_p95", "error_rate")
# Confidence of a verdict that is not conclusive is at most this.
INCONCLUSIVE = 0.5
# Code of the fact that a metric is beyond the limit of a healthy service, and was before.
UNHEALTHY_AS_BEFORE = "unhealthy_as_before"
# Score of an `ok` in doubt: just above those of ok.
NO_FINDING = 0.34


@dataclass(frozen=True, slots=True)
class Seen:
    """What was observed; samples in the order of time. earlier: those of earlier deployments, which before has not."""

    before: tuple[Sample, ...]
    after: tuple[Sample, ...]
    policy: Policy
    window: Window
    earlier: tuple[Sample, ...] = ()

    @classmethod
    def of(cls, pre: Sequence[Sample], post: Sequence[Sample], policy: Policy, window: Window) -> Seen:
        """Return the samples sorted."""
        before = (sample for sample in pre if sample.origin != "history")
        earlier = tuple(sample for sample in pre if sample.origin == "history")
        return cls(tuple(sorted(before, key=_time)), tuple(sorted(post, key=_time)), policy, window, earlier)

    @property
    def end(self) -> tuple[Sample, ...]:
        """Return the samples at the end of the window."""
        return self.after[-max(2, round(END_SHARE * len(self.after))) :]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return the metrics that the policy does not judge."""
        return self.policy.left_out if isinstance(self.policy, AdaptivePolicy) else ()

    @property
    def counted(self) -> bool:
        """Return whether at least half of the samples with an error rate count requests."""
        rated = [sample for sample in (*self.before, *self.after) if sample.error_rate is not None]
        return 2 * sum(sample.requests_per_sec is not None for sample in rated) >= len(rated)

    def requests(self, sample: Sample) -> float:
        """Return the approximate requests of a sample: its rate times the sampling interval; 0.0 if not measured."""
        return min(sample.requests_per_sec or 0.0, 1e9) * max(1.0, self.window.interval_s)

    def compared(self, metric: str) -> bool:
        """Return whether the metric was measured after the deployment, and before it where anything was."""
        known = (*self.before, *self.earlier)
        before, after = (any(sample.knows(metric) for sample in side) for side in (known, self.after))
        # Without any sample from before, limits that hold for every service judge the five metrics.
        return after and (before or (metric in METRICS and not known))

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Return the metrics that no sample has on both sides; none without samples."""
        if not self.after:
            return ()
        wanted = (*METRICS, *(metric.name for metric in self.policy.custom_metrics))
        return tuple(metric for metric in wanted if not self.compared(metric) and metric not in self.left_out)

    @property
    def user_facing(self) -> bool:
        """Return whether something that users notice was measured."""
        critical = (metric.name for metric in self.policy.custom_metrics if metric.critical)
        return any(self.compared(metric) for metric in (*USER_FACING, *critical))


def _time(sample: Sample) -> datetime:
    return sample.collected_at


def stated(verdict: Verdict, seen: Seen) -> Verdict:
    """Return the verdict with health and basis; not conclusive where its basis does not carry it.

    verdict.basis holds the doubts of the judge, if any. An `ok` that is in doubt becomes a `warning`.
    """
    basis = _basis(seen)
    found = _doubts(verdict, basis, seen)
    # Where requests are not counted, what users notice has to speak for itself.
    exercised = seen.user_facing if basis.exercised is None else basis.exercised
    health = _health(verdict, seen, exercised=exercised)
    basis = replace(basis, doubts=(*verdict.basis.doubts, *found))
    result = replace(verdict, health=health, basis=basis)
    if found:
        return _in_doubt(result, found)
    if result.verdict == OK and basis.unmeasured:
        metrics = [named(metric) for metric in basis.unmeasured]
        result = replace(result, summary=Fact("not_looked_at", {"summary": result.summary, "metrics": metrics}))
    if result.verdict == OK and health.healthy == "no":
        reasons = list(health.reasons)
        return replace(result, summary=Fact("but_not_healthy", {"summary": result.summary, "reasons": reasons}))
    return result


# --- what it rests on -----------------------------------------------------------------------------------------------


def _basis(seen: Seen) -> Basis:
    before, after = seen.before, seen.after
    begin = after[0].collected_at if after else seen.window.finished_at
    requests = _requests(after, seen)
    return Basis(
        requests=requests,
        requests_before=_requests(before, seen),
        pre_age_s=(begin - before[-1].collected_at).total_seconds() if before and begin is not None else None,
        exercised=None if requests is None else requests >= FEW_REQUESTS,
        unmeasured=seen.unmeasured,
        instances=_instances(after),
        instances_before=_instances(before),
    )


def _requests(samples: Sequence[Sample], seen: Seen) -> float | None:
    """Return the approximate number of requests; None where there are samples and none counted any."""
    if samples and not any(sample.knows("requests_per_sec") for sample in samples):
        return None
    return round(math.fsum(map(seen.requests, samples)), 1)


def _instances(samples: Sequence[Sample]) -> int | None:
    """Return how many instances the latest sample that knows covers."""
    return next((sample.instances for sample in reversed(samples) if sample.instances is not None), None)


def _doubts(verdict: Verdict, basis: Basis, seen: Seen) -> tuple[Fact, ...]:
    doubts = []
    # Traffic that is gone is a finding, and so is memory that filled up without any.
    asked = "requests_per_sec" not in seen.left_out and verdict.verdict != ROLLBACK
    if seen.after and asked and basis.exercised is False:
        doubts.append(Fact("not_exercised", {"requests": basis.requests}))
    if seen.after and verdict.verdict == OK and not seen.user_facing:
        doubts.append(Fact("nothing_user_facing", {"missing": [named(metric) for metric in USER_FACING]}))
    if seen.window.bad_predecessor is not None:
        doubts.append(Fact("bad_predecessor", {"number": seen.window.bad_predecessor}))
    return tuple(doubts)


def _in_doubt(verdict: Verdict, doubts: Sequence[Fact]) -> Verdict:
    clear = verdict.verdict == OK
    summary = Fact("in_doubt") if clear else Fact("found_in_doubt", {"summary": verdict.summary})
    return replace(
        verdict,
        verdict=WARNING if clear else verdict.verdict,
        conclusive=False,
        confidence=min(verdict.confidence, INCONCLUSIVE),
        score=max(verdict.score, NO_FINDING) if clear else verdict.score,
        summary=Fact(summary.code, {**summary.params, "doubts": list(doubts)}),
    )


# --- is it healthy --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """A metric beyond the limit of a healthy service at the end; before: its level in PRE, if beyond the limit too."""

    metric: str
    observed: float
    limit: float
    before: float | None = None

    @property
    def fact(self) -> Fact:
        numbers: dict[str, Param] = {
            "metric": self.metric,
            "observed": self.observed,
            "limit": self.limit,
            "before": self.before,
        }
        return Fact("unhealthy" if self.before is None else UNHEALTHY_AS_BEFORE, numbers)


def _health(verdict: Verdict, seen: Seen, *, exercised: bool) -> Health:
    down = _down_at_end(seen)
    if down:
        return Health("no", (Fact("no_answer_at_end", {"n": len(down), "reasons": distinct_reasons(down)}),))
    reasons = [_as_compared(one, verdict).fact for one in unhealthy(seen)]
    named = {reason.params["metric"] for reason in reasons}
    critical = (check for check in verdict.checks if check.outcome == "critical" and check.metric not in named)
    reasons += [check.fact for check in critical if _still_there(check, seen.end)]
    reasons += [one.fact for one in verdict.checks if one.rule == ALERTS and one.code == "alerts_before"]
    if reasons:
        return Health("no", tuple(reasons))
    # Answers that cost nothing may be refusals, which are not counted as errors.
    doubtful = tuple(check.fact for check in verdict.checks if check.rule == TOO_GOOD and check.failed)
    return Health("yes" if seen.after and exercised and not doubtful else "unknown", doubtful)


def _as_compared(found: Unhealthy, verdict: Verdict) -> Unhealthy:
    """Return the metric with the levels of its check, so that one verdict names one level before and one after.

    Without a level before, where those of the check are not both beyond the limit.
    """
    for check in verdict.checks:
        if check.metric == found.metric and check.observed is not None and check.baseline is not None:
            if found.before is not None and min(check.observed, check.baseline) > found.limit:
                return replace(found, observed=check.observed, before=check.baseline)
            return replace(found, before=None)
    return found


def unhealthy(seen: Seen) -> tuple[Unhealthy, ...]:
    """Return the metrics beyond the limit of a healthy service at the end of the window."""
    own: Mapping[str, float] = seen.policy.limits if isinstance(seen.policy, AdaptivePolicy) else {}
    found = []
    for metric, (limit, _) in SANITY.items():
        line = own.get(metric, limit)
        if metric in seen.left_out:
            continue
        before = _beyond(metric, seen.before, line, seen)
        standing = metric == "error_rate" and before is not None and not _end_tells(seen)
        observed = _beyond(metric, seen.after if standing else seen.end, line, seen)
        if observed is not None and (metric != "error_rate" or _countable(seen, line)):
            found.append(Unhealthy(metric, observed, line, before))
    return tuple(found)


def _end_tells(seen: Seen) -> bool:
    """Return whether the end has enough requests to show that errors are over."""
    failed, total = _failed(seen.after, seen)
    return failed * _failed(seen.end, seen)[1] >= TELLING * total


def _beyond(metric: str, samples: Sequence[Sample], limit: float, seen: Seen) -> float | None:
    """Return the level of the metric if it is beyond the limit."""
    if metric == "error_rate":
        failed, total = _failed(samples, seen)
        return failed / total if failed > limit * total else None
    values = values_of(samples, metric)
    over = sum(value > limit for value in values)
    return mean_of(values) if over > len(values) / 2 else None


def _countable(seen: Seen, limit: float) -> bool:
    """Return whether the failed requests are more than chance: at the end, in the whole window, or with those before.

    Counts scatter by their square root: one failed request of twenty is no rate.
    """
    counted = (_failed(samples, seen) for samples in (seen.end, seen.after, (*seen.before, *seen.after)))
    return any(failed - SURE * math.sqrt(failed) > limit * total for failed, total in counted)


def _failed(samples: Sequence[Sample], seen: Seen) -> tuple[float, float]:
    """Return the approximate numbers of failed requests and of requests; unweighted where those are not counted."""
    rated = [sample for sample in samples if sample.error_rate is not None]
    weights = [
        sample.custom.get(ERROR_ASKS) or (seen.requests(sample) if seen.counted else ASSUMED_REQUESTS)
        for sample in rated
    ]
    failed = (min(1.0, sample.error_rate or 0.0) * weight for sample, weight in zip(rated, weights, strict=True))
    return math.fsum(failed), math.fsum(weights)


def _down_at_end(seen: Seen) -> list[Miss]:
    """Return the failed collections since the last sample, if the service answered and stopped."""
    if not seen.after and not seen.before and not seen.window.endpoint_answered_before:
        return []
    misses = (miss for miss in seen.window.misses if miss.phase == "post")
    since = [miss for miss in misses if not seen.after or _later(miss, seen.after)]
    down = [miss for miss in since if miss.reason in SERVICE_DOWN]
    return down if len(down) >= SILENT_AT_END and len(down) == len(since) else []


def _later(miss: Miss, after: Sequence[Sample]) -> bool:
    if miss.scheduled_at is None:
        return miss.sequence_index >= len(after)
    return miss.scheduled_at > after[-1].collected_at


def _still_there(check: Check, end: Sequence[Sample]) -> bool:
    if check.rule not in COUNTING_RULES or check.limit is None:
        return True
    values = values_of(end, check.metric)
    less = check.metric == "requests_per_sec"
    return any(value < check.limit if less else value > check.limit for value in values)
