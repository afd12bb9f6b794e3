"""Counters and histograms in the database: exact across processes, hosts, crashes and restarts.

A count is inserted in the transaction of the event, so that both are committed or neither. Rows are only added, so that
writers do not wait for each other, and folded from time to time. The sum never falls, even after the counted jobs and
samples were deleted.
"""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import connection

from common.arrays import array

SEPARATOR = ","
SUM = "sum"
FOLD_AT_ONCE = 50_000

INSERT = """
INSERT INTO running_totals (name, labels, part, value)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[])
"""
# One statement: readers see either the rows or their sum. Rows locked by another fold are skipped.
FOLD = """
WITH taken AS (
    DELETE FROM running_totals WHERE id IN (
        SELECT id FROM running_totals ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING name, labels, part, value)
INSERT INTO running_totals (name, labels, part, value)
SELECT name, labels, part, sum(value) FROM taken GROUP BY name, labels, part
"""
READ = "SELECT name, labels, part, sum(value) FROM running_totals GROUP BY name, labels, part"

# (labels, part) → value
Parts = dict[tuple[tuple[str, ...], str], float]


@dataclass(frozen=True, slots=True)
class Measure:
    """A counter or histogram.

    labels: names of the labels; known: label values to expose before they occur; buckets: ascending upper bounds of a
    histogram, empty for a counter.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()

    def add(self, amounts: Mapping[tuple[str, ...], float]) -> None:
        """Add to the counter, by label values, inside the current transaction."""
        _insert({(self.name, key, ""): amount for key, amount in amounts.items()})

    def observe(self, values: Iterable[tuple[tuple[str, ...], float]]) -> None:
        """Add observations to the histogram, each with its label values, inside the current transaction."""
        changes: Tally[tuple[str, tuple[str, ...], str]] = Tally()
        sums: dict[tuple[str, tuple[str, ...], str], float] = {}
        for key, value in values:
            place = bisect_left(self.buckets, value)
            bound = f"{self.buckets[place]:g}" if place < len(self.buckets) else "+Inf"
            changes[self.name, key, bound] += 1
            sums[self.name, key, SUM] = sums.get((self.name, key, SUM), 0.0) + value
        _insert({**changes, **sums})


_measures: dict[str, Measure] = {}


def counter(name: str, help: str, labels: tuple[str, ...] = (), known: Iterable[tuple[str, ...]] = ()) -> Measure:  # noqa: A002
    """Declare a counter. Its labels must have few values: each combination is a permanent series."""
    return _announce(Measure(name, help, labels, tuple(known)))


def histogram(
    name: str,
    help: str,  # noqa: A002
    *,
    buckets: tuple[float, ...],
    labels: tuple[str, ...] = (),
    known: Iterable[tuple[str, ...]] = (),
) -> Measure:
    """Declare a histogram. buckets: ascending upper bounds without infinity."""
    return _announce(Measure(name, help, labels, tuple(known) if labels else ((),), buckets))


def _announce(measure: Measure) -> Measure:
    if measure.name in _measures and _measures[measure.name] != measure:
        raise ValueError(f"{measure.name} is announced twice")
    _measures[measure.name] = measure
    return measure


def measures() -> list[Measure]:
    """Return all declared measures, by name."""
    return sorted(_measures.values(), key=lambda measure: measure.name)


def _insert(changes: Mapping[tuple[str, tuple[str, ...], str], float]) -> None:
    rows = [(name, SEPARATOR.join(key), part, float(value)) for (name, key, part), value in changes.items() if value]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [array(column) for column in zip(*rows, strict=True)])


def read() -> dict[str, Parts]:
    """Return the current values by name of the measure."""
    found: dict[str, Parts] = {}
    with connection.cursor() as cursor:
        cursor.execute(READ)
        for name, labels, part, value in cursor.fetchall():
            found.setdefault(name, {})[tuple(labels.split(SEPARATOR)) if labels else (), part] = value
    return found


def fold() -> int:
    """Fold rows of the same series into one; return the number of rows left or new."""
    with connection.cursor() as cursor:
        cursor.execute(FOLD, [FOLD_AT_ONCE])
        written: int = cursor.rowcount
        return written
