"""Hints about the data: missing samples, or implausible times."""

from analysis.judge.hints.base import Findings
from analysis.judge.reasons import reasons
from analysis.judge.types import Hint
from explain.facts import Fact

MISSING = ("no_post", "no_pre", "few_post_samples", "incomplete_window", "expired_jobs", "failed_collections")


def missing_data(findings: Findings) -> Hint | None:
    """Report missing samples; a warning if the verdict is inconclusive, else info."""
    issues = [issue for issue in findings.verdict.quality.issues if issue.code in MISSING]
    if not issues:
        return None
    variant = "no_post" if not findings.post else "no_pre" if not findings.pre else "partial"
    collected, expected = len(findings.post), findings.window.expected
    return Hint(
        f"missing_data.{variant}",
        severity="info" if findings.verdict.conclusive else "warning",
        # That samples are missing is certain; how much it matters is not.
        confidence=0.6 + sum(issue.penalty for issue in issues) / 2,
        observed=float(collected),
        threshold=float(expected),
        evidence=tuple(issue.fact for issue in issues),
        numbers={
            "collected": collected,
            "expected": expected,
            "pre": len(findings.pre),
            "quality": findings.verdict.quality.score,
            "issues": [issue.code for issue in issues],
        },
        params={
            "collected": collected,
            "expected": expected,
            "reasons": reasons(findings.window.misses) or [Fact("none_recorded")],
        },
    )


def poor_data(findings: Findings) -> Hint | None:
    """Report issues of order or time; gaps explained by missing samples are left to missing_data."""
    issues = findings.verdict.quality.issues
    missing = any(issue.code in MISSING for issue in issues)
    doubtful = [issue for issue in issues if issue.code not in MISSING and not (missing and issue.code == "gap")]
    if not doubtful:
        return None
    score, found = findings.verdict.quality.score, [issue.fact for issue in doubtful]
    return Hint(
        "poor_data",
        severity="info" if findings.verdict.conclusive else "warning",
        confidence=0.6 + sum(issue.penalty for issue in doubtful) / 2,
        observed=score,
        evidence=tuple(found),
        numbers={"quality": score, "issues": [issue.code for issue in doubtful]},
        params={"quality": score, "issues": found},
    )
