"""SeqPulse Debug Hints (SDH): probable cause, effect on users, next steps. Pure.

A hint is a line of RULES in rules.py, with a function where more than failed checks decides, and its texts in
analysis/texts/hints.py.
"""

from collections.abc import Sequence

from analysis.judge.hints.base import Findings, agreeing
from analysis.judge.hints.rules import REPLACES, RULES, critical_finding, custom_metrics
from analysis.judge.types import ROLLBACK, SEVERITIES, Hint, Sample, Verdict, Window


def hints(verdict: Verdict, pre: Sequence[Sample], post: Sequence[Sample], window: Window) -> list[Hint]:
    """Return the hints of a verdict, most severe first.

    A rollback always has a critical hint: every critical check has a rule, and a finding without one is shown by
    `critical_finding`. An ok never has one: see `base.agreeing`.
    """
    findings = Findings(verdict=verdict, pre=tuple(pre), post=tuple(post), window=window)
    found: list[Hint] = []
    for rule in RULES:
        hint = rule(findings)
        if hint is not None and not any(_explains(earlier, hint) for earlier in found):
            found.append(agreeing(verdict, hint))
    found += [agreeing(verdict, hint) for hint in custom_metrics(findings)]
    if verdict.verdict == ROLLBACK and not any(hint.severity == "critical" for hint in found):
        found.append(agreeing(verdict, critical_finding(findings)))
    return sorted(found, key=lambda hint: -SEVERITIES.index(hint.severity))


def _explains(earlier: Hint, hint: Hint) -> bool:
    return hint.code in REPLACES.get(earlier.text_key, ()) and set(hint.metrics) <= set(earlier.metrics)
