"""Hints about one metric: errors, traffic, latency, CPU."""

from analysis.judge.hints.base import Findings, when_failed
from analysis.judge.levels import mean_of
from analysis.judge.types import Hint
from explain.facts import Fact

# Reported from a fifth faster, by more than timer noise, in nearly every sample. No verdict depends on these numbers.
MIN_DROP = 0.20
MIN_DROP_MS = 10.0
MIN_SHARE = 0.8
MIN_SAMPLES = 3


high_error_rate = when_failed("high_error_rate", "error_rate")
traffic_below_baseline = when_failed("traffic_below_baseline", "requests_per_sec")
high_latency = when_failed("high_latency", "latency_p95")
cpu_spike = when_failed("cpu_spike", "cpu_usage")


def latency_improved(findings: Findings) -> Hint | None:
    """Report a p95 lower by a fifth in nearly all samples, unless errors or traffic failed: failing fast is no gain."""
    if len(findings.post) < MIN_SAMPLES or not findings.pre:
        return None
    if any(findings.failed(metric) for metric in ("error_rate", "requests_per_sec", "latency_p95")):
        return None
    before = mean_of([sample.latency_p95 for sample in findings.pre])
    values = [sample.latency_p95 for sample in findings.post]
    line, now = before - max(before * MIN_DROP, MIN_DROP_MS), mean_of(values)
    share = sum(1 for value in values if value <= line) / len(values)
    if now > line or share < MIN_SHARE:
        return None
    gain = 1 - now / before
    thin = 0.1 if len(findings.pre) < MIN_SAMPLES else 0.0
    levels = {"observed": now, "baseline": before}
    return Hint(
        "latency_improved",
        metric="latency_p95",
        metrics=("latency_p95",),
        severity="info",
        confidence=(0.5 + 0.3 * gain + 0.2 * share - thin) * (0.5 + 0.5 * findings.verdict.quality.score),
        observed=now,
        threshold=line,
        evidence=(Fact("latency_mean", {**levels, "samples": Fact("samples", {"n": len(values)})}),),
        numbers={"latency_p95": {**levels, "limit": line, "share": share}},
        params={**levels, "change": gain},
    )
