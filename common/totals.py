"""Counters and histograms in the database: exact across processes, hosts, crashes and restarts.

A count is inserted in the transaction of the event, so that both are committed or neither. Rows are only added, so that
writers do not wait for each other, and folded from time to time. The sum never falls, even after the counted jobs and
samples were deleted.
"""

import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection

from common.arrays import array
from common.database import prepared

SEPARATOR = ","
SUM = "sum"
FOLD_AT_ONCE = 50_000

INSERT = """
INSERT INTO running_totals (name, labels, part, value)
SELECT * FROM unnest(%(name)s::text[], %(labels)s::text[], %(part)s::text[], %(value)s::float8[]) RETURNING id
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

# Name, label values, part.
Series = tuple[str, tuple[str, ...], str]
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
        changes: Tally[Series] = Tally()
        sums: dict[Series, float] = {}
        bounds = [*(f"{bound:g}" for bound in self.buckets), "+Inf"]
        for key, value in values:
            changes[self.name, key, bounds[bisect_left(self.buckets, value)]] += 1
            sums[self.name, key, SUM] = sums.get((self.name, key, SUM), 0.0) + value
        _insert({**changes, **sums})


_thread = threading.local()
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


@contextmanager
def gathered() -> Iterator[None]:
    """Insert what this thread counts within in one statement, at the end.

    For a transaction that ends with the first exception: what a savepoint takes back stays counted.
    """
    _thread.changes = {}
    try:
        yield
        changes, _thread.changes = _thread.changes, None
        _insert(changes)
    finally:
        _thread.changes = None


def _insert(changes: Mapping[Series, float]) -> None:
    waiting: dict[Series, float] | None = getattr(_thread, "changes", None)
    if waiting is not None:
        for series, value in changes.items():
            waiting[series] = waiting.get(series, 0.0) + value
        return
    rows = [(name, SEPARATOR.join(key), part, float(value)) for (name, key, part), value in changes.items() if value]
    if rows:
        prepared(
            INSERT, dict(zip(("name", "labels", "part", "value"), map(array, zip(*rows, strict=True)), strict=True))
        )


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
