"""Exact distributions of counts: how many failed requests would be expected, given those before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# More errors make nothing clearer that a verdict takes: counts after the deployment are scaled down to this many.
MOST_ERRORS = 100.0
_NEGLIGIBLE = 1e-7
_LEAST = 1e-300


@dataclass(frozen=True, slots=True)
class Beta:
    """A distribution of the rate of errors: Beta(errors, rest), with the weight of it in a mixture."""

    weight: float
    errors: float
    rest: float


# What is known of a service's rate of errors before any of its requests: four of five have about 0.3 %, worth 200
# requests; the others may have any. A few requests of PRE show which: both sides are judged by what is known then.
PRIOR = (Beta(0.8, 0.6, 199.4), Beta(0.2, 0.5, 4.5))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def posterior(errors: float, requests: float, prior: Sequence[Beta] = PRIOR) -> tuple[Beta, ...]:
    """Return what is known of the rate after `errors` of `requests`, which need not be whole numbers."""
    rest = max(0.0, requests - errors)
    logs = [_log_beta(one.errors + errors, one.rest + rest) - _log_beta(one.errors, one.rest) for one in prior]
    best = max(logs)
    weights = [one.weight * math.exp(log - best) for one, log in zip(prior, logs, strict=True)]
    total = math.fsum(weights)
    return tuple(
        Beta(weight / total, one.errors + errors, one.rest + rest) for weight, one in zip(weights, prior, strict=True)
    )


def mean_rate(known: Sequence[Beta]) -> float:
    return math.fsum(one.weight * one.errors / (one.errors + one.rest) for one in known)


def _whole_tail(known: Beta, errors: int, requests: float) -> float:
    """Return the beta-binomial probability of at least `errors`, by summing from there on."""
    a, b = known.errors, known.rest
    if errors <= 0:
        return 1.0
    if errors > requests:
        return 0.0
    log = math.lgamma(requests + 1.0) - math.lgamma(errors + 1.0) - math.lgamma(requests - errors + 1.0)
    log += _log_beta(a + errors, b + requests - errors) - _log_beta(a, b)
    term = total = math.exp(log)
    k = float(errors)
    while k + 1.0 <= requests:
        term *= (requests - k) * (a + k) / ((k + 1.0) * (b + requests - k - 1.0))
        total += term
        k += 1.0
        if term < _NEGLIGIBLE * total:
            break
    return min(1.0, total)


def log_tail(known: Sequence[Beta], errors: float, requests: float) -> float:
    """Return the logarithm of the probability of at least `errors` failed of `requests`, given what is known.

    Between whole numbers of errors it is interpolated. Where fewer are expected than known, it is 0 or close to it.
    """
    if errors <= 0.0 or requests <= 0.0:
        return 0.0
    if errors > MOST_ERRORS:
        errors, requests = MOST_ERRORS, requests * MOST_ERRORS / errors
    if errors <= mean_rate(known) * requests:
        return 0.0
    low = math.floor(errors)
    logs = [
        math.log(max(_LEAST, math.fsum(one.weight * _whole_tail(one, count, max(requests, count)) for one in known)))
        for count in (low, low + 1)
    ]
    return logs[0] + (errors - low) * (logs[1] - logs[0])
