"""Exact decimals and means of samples. Pure."""

import math
from collections.abc import Sequence
from decimal import Decimal


def decimal_of(value: float) -> Decimal:
    """The decimal number that was written, not the binary one next to it."""
    return Decimal(repr(float(value)))


def mean_of(values: Sequence[float]) -> float:
    """The mean of at least one value; huge (but finite) values, whose float sum overflows, have one too: an endpoint
    that reports nonsense must not cost the deployment its verdict."""
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return float(sum((decimal_of(value) for value in values), Decimal(0)) / len(values))
