"""Compare a new version that gets a share of the traffic. Pure.

Where the source measures the new version alone, it has fewer requests than the whole service had, and that is no loss.
How many fewer is known only as a bound: a source may just as well measure the whole service. So the traffic from
before is taken as the new version's share of it, or as what the new version has, whichever is more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.judge.levels import mean_of
from analysis.judge.types import Sample, values_of
from projects.policy import Policy

SHARED_KINDS = ("rate", "count")


def at_share(
    pre: Sequence[Sample], post: Sequence[Sample], share: float, policy: Policy, *, requests: bool = True
) -> list[Sample]:
    """Return PRE with custom rates and counts of a share (0..1) of the traffic. requests: and with requests of it."""
    names = ["requests_per_sec"] if requests else []
    names += shared_metrics(policy)
    factors = {name: factor for name in names if (factor := _factor(pre, post, name, share)) < 1.0}
    return [scaled(sample, factors) for sample in pre] if factors else list(pre)


def shared_metrics(policy: Policy) -> list[str]:
    """Return the custom metrics of which there is more where there is more traffic."""
    return [one.name for one in policy.custom_metrics if one.kind in SHARED_KINDS]


def traffic_factor(before: Sequence[Sample], after: Sequence[Sample]) -> float:
    """Return how many times the requests of one side the other has; 1.0 where that is not known."""
    rates = [values_of(samples, "requests_per_sec") for samples in (before, after)]
    means = [mean_of(values) if values else 0.0 for values in rates]
    return means[1] / means[0] if min(means) > 0.0 else 1.0


def _factor(pre: Sequence[Sample], post: Sequence[Sample], name: str, share: float) -> float:
    before, after = values_of(pre, name), values_of(post, name)
    if not before or not after or mean_of(before) <= 0.0:
        return 1.0
    return min(1.0, max(share, mean_of(after) / mean_of(before)))


def scaled(sample: Sample, factors: Mapping[str, float]) -> Sample:
    rate, factor = sample.requests_per_sec, factors.get("requests_per_sec", 1.0)
    custom = {name: value * factors.get(name, 1.0) for name, value in sample.custom.items()}
    return replace(sample, requests_per_sec=None if rate is None else rate * factor, custom=custom)
