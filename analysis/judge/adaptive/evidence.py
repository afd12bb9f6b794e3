"""Prepare samples for the rules: sort, split and clamp them; and the type of findings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from analysis.judge.adaptive.knobs import Knobs
from analysis.judge.adaptive.levels import level
from analysis.judge.adaptive.lines import Lines, lines_for
from analysis.judge.types import METRICS, Check, CheckOutcome, Sample, Window, values_of
from projects.policy import AdaptivePolicy

# With fewer PRE samples than this, POST of earlier good deployments shows the scatter.
THIN_PRE = 5
MAX_HISTORY = 30
HISTORY_WORTH = 4
# Samples further apart than this are of different deployments: their difference is no scatter. Sampling intervals.
HISTORY_GAP = 5.0

# The last part of the window: late faults show there. 2 of 5, 4 of 10, 6 of 15 samples.
LAST_SHARE = 0.4
# With fewer samples before the last part a window is not compared with itself.
MIN_EARLY = 2
# The last third of a window has at least so many collections.
RECOVERED = 2

# From this many POST samples on, two are warm-up instead of one.
LONG_WINDOW = 8

# Standard errors of a finding. Fewer if PRE is thin: requiring certainty there would miss more than it avoids. In
# between so that more PRE samples with the same scatter never ask for a larger effect.
GUARD = 1.8
THIN_GUARD = 1.4
FULL_PRE = 30
ENOUGH_PRE = 8

# Strength of what is short of a rollback on purpose.
ALMOST = 0.95

_HUGE = 1e9
_CRUMB = 1e-9
# Bounds of a custom metric, whose unit may be bytes.
_HUGE_CUSTOM = 1e15


@dataclass(frozen=True, slots=True)
class Finding:
    """One check with its distance from the thresholds.

    strength: measured effect as a multiple of what a warning takes (from 1.0 on it is one); critical: the same for a
    rollback; together: the same for counting among the user-facing regressions that recommend a rollback in pairs;
    suspicion: strength of the plain effect, before anything is forgiven.
    """

    check: Check
    strength: float = 0.0
    critical: float = 0.0
    together: float = 0.0
    suspicion: float = 0.0


def outcome(strength: float, critical: float = 0.0) -> CheckOutcome:
    """Return a check's outcome by the strength of its finding."""
    return "critical" if critical >= 1.0 else "warning" if strength >= 1.0 else "ok"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Samples in the order of time.

    pre: compared with POST, the fresh samples or, without any, those of earlier deployments; history: samples of
    earlier deployments that show only the scatter; body: POST without warm-up; early, last: the two parts of body.
    Minutes are sampling intervals since the first POST sample (PRE negative): a window of n minutes has n samples,
    whatever the interval. pre_age: seconds from the newest PRE sample to the first POST sample. warmup: the window's
    first collections that are forgiven, whether or not a sample came. control: as in Controlled.how.
    """

    policy: AdaptivePolicy
    lines: Lines
    window: Window
    knobs: Knobs
    pre: tuple[Sample, ...]
    post: tuple[Sample, ...]
    body: tuple[Sample, ...]
    last: tuple[Sample, ...]
    pre_minutes: tuple[float, ...]
    post_minutes: tuple[float, ...]
    fresh_pre: int
    history: tuple[Sample, ...] = ()
    history_minutes: tuple[float, ...] = ()
    pre_age: float = 0.0
    warmup: int = 0
    control: str = ""

    @property
    def body_minutes(self) -> tuple[float, ...]:
        """Return the minutes of body."""
        return self.post_minutes[len(self.post) - len(self.body) :]

    @property
    def early(self) -> tuple[Sample, ...]:
        """Return POST after warm-up and before the last part; may be empty."""
        return self.body[: len(self.body) - len(self.last)]

    @property
    def guard(self) -> float:
        """Return the required standard errors of an effect."""
        return THIN_GUARD + (GUARD - THIN_GUARD) * min(1.0, len(self.pre) / FULL_PRE)

    @property
    def worth(self) -> int:
        """Return the number of PRE samples for the confidence; one of an earlier deployment counts a quarter."""
        history = len(self.pre) - self.fresh_pre
        return self.fresh_pre + (history + HISTORY_WORTH - 1) // HISTORY_WORTH

    def scatter(self, values: Callable[[Sequence[Sample]], list[float]]) -> tuple[tuple[float, ...], ...]:
        """Return the values of the history on a scale of comparison, one group per earlier deployment."""
        groups: list[list[Sample]] = []
        before = -math.inf
        for sample, minute in zip(self.history, self.history_minutes, strict=True):
            if minute - before > HISTORY_GAP:
                groups.append([])
            groups[-1].append(sample)
            before = minute
        return tuple(tuple(values(group)) for group in groups)

    def requests(self, sample: Sample) -> float | None:
        """Return the approximate requests of a sample: its rate times the sampling interval; None if not measured."""
        rate = sample.requests_per_sec
        return None if rate is None else rate * max(1.0, self.window.interval_s)

    def base_rate(self) -> float:
        """Return the PRE level of requests per second; 0.0 where PRE has none."""
        rates = values_of(self.pre, "requests_per_sec")
        return level(rates) if rates else 0.0

    def on_itself(self) -> Evidence | None:
        """Return the last part of the window as compared with the earlier part; None if that is too short."""
        early, minutes = self.early, self.body_minutes
        if len(early) < MIN_EARLY or not self.knobs.last_part:
            return None
        cut = len(early)
        return replace(
            self,
            pre=early,
            post=self.last,
            body=self.last,
            pre_minutes=minutes[:cut],
            post_minutes=minutes[cut:],
        )

    def knowing(self, metric: str) -> Evidence:
        """Return the evidence without the samples that do not have the metric.

        Where no sample from right before has it, those of earlier deployments that do are compared.
        """
        if all(sample.knows(metric) for sample in (*self.pre, *self.post, *self.history)):
            return self

        def kept(samples: Sequence[Sample], minutes: Sequence[float]) -> tuple[list[Sample], list[float]]:
            found = [pair for pair in zip(samples, minutes, strict=True) if pair[0].knows(metric)]
            return [sample for sample, _ in found], [minute for _, minute in found]

        pre, pre_minutes = kept(self.pre, self.pre_minutes)
        history, history_minutes = kept(self.history, self.history_minutes)
        if not pre:
            pre, pre_minutes, history, history_minutes = history, history_minutes, [], []
        post, post_minutes = kept(self.post, self.post_minutes)
        # Where only the warm-up has the metric, nothing else can be judged.
        body = [sample for sample in self.body if sample.knows(metric)] or post
        interval = max(1.0, self.window.interval_s)
        return replace(
            self,
            pre=tuple(pre),
            post=tuple(post),
            body=tuple(body),
            last=_last_of(body, len(post)),
            pre_minutes=tuple(pre_minutes),
            post_minutes=tuple(post_minutes),
            fresh_pre=sum(sample.origin != "history" for sample in pre),
            history=tuple(history),
            history_minutes=tuple(history_minutes),
            pre_age=max(0.0, (post_minutes[0] - pre_minutes[-1]) * interval) if pre and post else 0.0,
        )


def _last_of(body: Sequence[Sample], places: int) -> tuple[Sample, ...]:
    """Return the last part of the window. places: how many POST samples it has, warm-up included."""
    count = max(2, round(places * LAST_SHARE)) if len(body) >= 2 else len(body)
    return tuple(body[max(0, len(body) - count) :])


def not_known(evidence: Evidence, metric: str) -> Check | None:
    """Return a skipped check if no sample has the metric, or only samples of one side; None if both sides have it."""
    before = any(sample.knows(metric) for sample in (*evidence.pre, *evidence.history))
    after = any(sample.knows(metric) for sample in evidence.post)
    if not evidence.post or (after and (before or not evidence.pre)):
        return None
    code = "known_only_before" if before else "known_only_after" if after else "not_known"
    return Check(metric=metric, rule="not_measured", outcome="skipped", code=code)


def unmeasured(evidence: Evidence, metric: str) -> Finding | None:
    """Return a skipped check if cpu or memory is constantly 0 before or after: no running process uses none of it."""
    before = not any(getattr(sample, metric) for sample in evidence.pre)
    after = not any(getattr(sample, metric) for sample in evidence.post)
    if not (before and evidence.pre) and not after:
        return None
    when = "before_and_after" if before and after and evidence.pre else "before" if not after else "after"
    return Finding(Check(metric=metric, rule="not_measured", outcome="skipped", code=f"not_measured_{when}"))


def _within(value: float | None, most: float) -> float | None:
    """Clamp a value to 0 .. most; values too small to be measured become 0, and what is no number is not known."""
    if value is None or math.isnan(value):
        return None
    return min(value, most) if value >= _CRUMB else 0.0


def _safe(sample: Sample, custom: Sequence[str]) -> Sample:
    """Clamp all values of a sample to the range of their metric, so that no rule overflows or divides by almost 0.

    custom: names of the custom metrics that are judged; others are left out.
    """
    own = ((name, sample.custom[name]) for name in custom if name in sample.custom)
    # The constructor: `replace` takes three times as long.
    return Sample(
        sample.collected_at,
        _within(sample.requests_per_sec, _HUGE),
        _within(sample.latency, _HUGE) if sample.knows("latency_p95") else None,
        _within(sample.error_rate, 1.0),
        _within(sample.cpu_usage, 1.0),
        _within(sample.memory_usage, 1.0),
        sample.origin,
        {name: max(-_HUGE_CUSTOM, min(_HUGE_CUSTOM, value)) for name, value in own if not math.isnan(value)},
        sample.instances,
    )


def _key(sample: Sample) -> tuple[object, ...]:
    # All values are part of the key: the result must not depend on the order of simultaneous samples.
    known = (sample.latency if name == "latency_p95" else getattr(sample, name) for name in METRICS)
    values = tuple(-1.0 if value is None else value for value in known)
    return sample.collected_at, *values, sorted(sample.custom.items()), sample.instances or 0


def _comparable(pre: Sequence[Sample], window: Window, custom: Sequence[str]) -> tuple[list[Sample], list[Sample]]:
    """Return the samples taken right before the deployment, and those of earlier ones if these are few."""
    finished = window.finished_at
    fresh = [
        sample for sample in pre if sample.origin != "history" and (finished is None or sample.collected_at <= finished)
    ]
    ordered = sorted((_safe(sample, custom) for sample in fresh), key=_key)
    if len(ordered) >= THIN_PRE:
        return ordered, []
    history = sorted((_safe(sample, custom) for sample in pre if sample.origin == "history"), key=_key)
    return ordered, history[-MAX_HISTORY:]


def last_third(count: int) -> int:
    """Return how many of `count` collections are the last third of the window: what is well there is over."""
    return max(RECOVERED, count // 3)


def warmup_places(places: int, policy: AdaptivePolicy, knobs: Knobs) -> int:
    """Return how many of the window's first `places` collections are warm-up, whether or not a sample came."""
    if not knobs.forgive_warmup:
        return 0
    if policy.warmup_samples is not None:
        return policy.warmup_samples
    return 2 if places >= LONG_WINDOW else 1


def prepare(
    pre: Sequence[Sample], post: Sequence[Sample], *, policy: AdaptivePolicy, window: Window, knobs: Knobs
) -> Evidence:
    """Sort, clamp and split the samples, which may be in any order."""
    custom = [*(metric.name for metric in policy.custom_metrics), *window.counts]
    fresh, history = _comparable(pre, window, custom)
    # Earlier deployments show a level only where nothing newer does: a service changes from day to day.
    comparable, history = (fresh, history) if fresh else (history, [])
    ordered = sorted((_safe(sample, custom) for sample in post), key=_key)
    missed = [miss.sequence_index for miss in window.misses if miss.phase == "post"]
    warmup = warmup_places(len(ordered) + len(missed), policy, knobs)
    # At least two samples remain.
    cold = max(0, min(warmup - sum(place < warmup for place in missed), len(ordered) - 2))
    body = ordered[cold:]
    first = next(iter(ordered or comparable), None)
    interval = max(1.0, window.interval_s)

    def minutes(samples: list[Sample]) -> tuple[float, ...]:
        return tuple((s.collected_at - first.collected_at).total_seconds() / interval for s in samples) if first else ()

    return Evidence(
        policy=policy,
        lines=lines_for(policy.sensitivity),
        window=window,
        knobs=knobs,
        pre=tuple(comparable),
        post=tuple(ordered),
        body=tuple(body),
        last=_last_of(body, len(ordered)),
        pre_minutes=minutes(comparable),
        post_minutes=minutes(ordered),
        fresh_pre=len(fresh),
        history=tuple(history),
        history_minutes=minutes(history),
        warmup=warmup,
        pre_age=max(0.0, -minutes(comparable)[-1] * interval) if comparable and ordered else 0.0,
    )
