"""Switches of the judge's ideas, for the ablations of the benchmark.

Production always uses the defaults; they are not part of a policy.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Knobs:
    """One switch per idea, all on by default (docs/verdicts.md, ablations)."""

    practical_margin: bool = True
    noise_guard: bool = True
    last_part: bool = True
    robust: bool = True
    forgive_warmup: bool = True
    error_counts: bool = True
    explain_load: bool = True
    follow_drift: bool = True
    memory_trend: bool = True
    together: bool = True
    missing_data: bool = True
    calibrated: bool = True


ALL_ON = Knobs()
