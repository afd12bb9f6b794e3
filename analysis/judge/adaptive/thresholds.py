"""Return the thresholds of a finding as a fact: the one that it reached, and the next one. No decisions."""

from analysis.judge.adaptive.lines import Lines
from explain.facts import Fact


def latency(lines: Lines, warning: float, critical: float) -> Fact:
    return _next(
        warning,
        critical,
        _latency(lines.latency_ratio, lines.latency_ms),
        _latency(lines.latency_rollback_ratio, lines.latency_rollback_ms),
    )


def errors(lines: Lines, warning: float, critical: float) -> Fact:
    rollback = Fact("points_more", {"points": lines.error_rollback})
    return _next(warning, critical, _points_and_ratio(lines.error, lines.error_ratio), rollback)


def traffic(lines: Lines, warning: float, critical: float) -> Fact:
    return _next(
        warning,
        critical,
        Fact("share_lost", {"share": lines.traffic}),
        Fact("share_lost", {"share": lines.traffic_rollback}),
    )


def memory(lines: Lines, warning: float, critical: float) -> Fact:
    growth = Fact("memory_growth", {"leak": lines.leak, "hours": lines.leak_hours, "step": lines.memory_step})
    full = Fact("memory_nearly_full", {"full": lines.memory_full, "minutes": lines.full_minutes})
    return _next(warning, critical, growth, full)


def cpu(lines: Lines) -> Fact:
    return Fact("cpu_threshold", {"line": _points_and_ratio(lines.cpu, lines.cpu_ratio)})


def _next(strength: float, critical: float, warning: Fact, rollback: Fact) -> Fact:
    """Return the reached and the next threshold. strength, critical: of the finding, 1.0 = it reaches the threshold."""
    if critical >= 1.0:
        return Fact("rollback_threshold_reached", {"line": rollback})
    if strength >= 1.0:
        return Fact("warning_threshold_reached", {"line": warning, "rollback": rollback})
    return Fact("warning_threshold", {"line": warning})


def _latency(ratio: float, ms: float) -> Fact:
    return Fact("ratio_and_ms", {"ratio": 1 + ratio, "ms": ms})


def _points_and_ratio(points: float, ratio: float) -> Fact:
    return Fact("points_and_ratio", {"points": points, "ratio": 1 + ratio})
