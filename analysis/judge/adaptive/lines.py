"""Thresholds ("lines") of warnings and rollbacks.

Every number is an effect of the deployment, beyond the service's own level and beyond what traffic explains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SENSITIVITY_SCALE = {"low": 1.4, "normal": 1.0, "high": 0.75}

# A measured effect scatters around the true one. Deciding slightly below a threshold catches faults at the threshold.
# The margin of rollbacks is smaller, because a false one costs more.
WARNING_SHARE = 0.92
ROLLBACK_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one sensitivity. Ratios are the excess over 1 (0.28 means ×1.28); rates and shares are 0..1.

    error_*: error_rate points (0.006 = 0.6 points); error budget arithmetic: 0.6 points spend a 99.9 % monthly budget
    six times too fast, 3.5 points fail every 30th request. latency_*_ms in ms; leak_hours: time until memory is full;
    full_minutes: the same, for a rollback; traffic_*: lost share of the expected traffic.
    """

    error: float = 0.006
    error_ratio: float = 0.6
    error_rollback: float = 0.035
    latency_ratio: float = 0.28
    latency_ms: float = 20.0
    latency_rollback_ratio: float = 2.2
    latency_rollback_ms: float = 250.0
    latency_together_ratio: float = 0.7
    latency_together_ms: float = 50.0
    cpu: float = 0.15
    cpu_ratio: float = 0.3
    leak: float = 0.03
    leak_hours: float = 4.0
    memory_step: float = 0.12
    memory_full: float = 0.98
    full_minutes: float = 8.0
    traffic: float = 0.29
    traffic_rollback: float = 0.9

    def scaled(self, scale: float) -> Lines:
        """Return the thresholds scaled by a sensitivity (low: larger, high: smaller).

        Physical levels (memory full, minutes until then) stay; thresholds of traffic never exceed 0.9 and 0.97, because
        no more than all traffic can be lost.
        """
        if scale == 1.0:
            return self
        return Lines(
            error=self.error * scale,
            error_ratio=self.error_ratio * scale,
            error_rollback=self.error_rollback * scale,
            latency_ratio=self.latency_ratio * scale,
            latency_ms=self.latency_ms * scale,
            latency_rollback_ratio=self.latency_rollback_ratio * scale,
            latency_rollback_ms=self.latency_rollback_ms * scale,
            latency_together_ratio=self.latency_together_ratio * scale,
            latency_together_ms=self.latency_together_ms * scale,
            cpu=self.cpu * scale,
            cpu_ratio=self.cpu_ratio * scale,
            leak=self.leak * scale,
            leak_hours=self.leak_hours / scale,
            memory_step=self.memory_step * scale,
            memory_full=self.memory_full,
            full_minutes=self.full_minutes,
            traffic=min(0.9, self.traffic * scale),
            traffic_rollback=min(0.97, self.traffic_rollback * scale),
        )

    def deciding(self) -> Lines:
        """Return the slightly lower thresholds that decide, as shown in a check's limit.

        Full memory is physical and stays.
        """
        warning, rollback = WARNING_SHARE, ROLLBACK_SHARE
        return replace(
            self,
            error=self.error * warning,
            error_ratio=self.error_ratio * warning,
            error_rollback=self.error_rollback * rollback,
            latency_ratio=self.latency_ratio * warning,
            latency_ms=self.latency_ms * warning,
            latency_rollback_ratio=self.latency_rollback_ratio * rollback,
            latency_rollback_ms=self.latency_rollback_ms * rollback,
            latency_together_ratio=self.latency_together_ratio * rollback,
            latency_together_ms=self.latency_together_ms * rollback,
            cpu=self.cpu * warning,
            cpu_ratio=self.cpu_ratio * warning,
            leak=self.leak * warning,
            leak_hours=self.leak_hours / warning,
            memory_step=self.memory_step * warning,
            full_minutes=self.full_minutes / rollback,
            traffic=self.traffic * warning,
            traffic_rollback=self.traffic_rollback * rollback,
        )


NORMAL = Lines()
_BY_SENSITIVITY = {name: NORMAL.scaled(scale) for name, scale in SENSITIVITY_SCALE.items()}


def lines_for(sensitivity: str) -> Lines:
    """Return the thresholds of a sensitivity (low, normal, high); KeyError for any other."""
    return _BY_SENSITIVITY[sensitivity]
