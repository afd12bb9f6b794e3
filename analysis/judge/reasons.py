"""Reasons of missing samples. Pure."""

from collections import Counter
from collections.abc import Iterable

from analysis.judge.types import Miss
from explain.facts import Fact

# The service did not answer, or with an error: an outage.
SERVICE_DOWN = frozenset({"refused", "timeout", "http_5xx", "dns", "tls", "protocol"})


def reasons(misses: Iterable[Miss]) -> list[Fact]:
    """Return each reason with its count, most frequent first."""
    by_code = Counter(miss.reason for miss in misses)
    return [Fact("reason_counted", {"reason": code, "n": count}) for code, count in by_code.most_common()]


def distinct_reasons(misses: Iterable[Miss]) -> list[Fact]:
    """Return the reasons, in the order of their codes."""
    return [Fact("reason_only", {"reason": code}) for code in sorted({miss.reason for miss in misses})]
