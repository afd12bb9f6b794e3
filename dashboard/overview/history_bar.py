"""The verdicts of the last 30 days as a bar: one cell per day, however many deployments a day has. Pure.

A cell shows the gravest verdict of its day. Its height says the same as its colour: low is ok, middle a warning, full a
recommended rollback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from analysis.judge.types import OK, ROLLBACK, WARNING

DAYS = 30
CELL, GAP, HEIGHT = 6, 2, 20
HEIGHTS = {ROLLBACK: 20, WARNING: 13, OK: 6}
WIDTH = DAYS * (CELL + GAP) - GAP


@dataclass(frozen=True, slots=True)
class Cell:
    """A day on which something was judged. x, y, height: of its bar, in the bar's units; verdict: the gravest."""

    day: date
    verdict: str
    counts: Mapping[str, int]
    x: int

    @property
    def height(self) -> int:
        return HEIGHTS.get(self.verdict, HEIGHT)

    @property
    def y(self) -> int:
        return HEIGHT - self.height


@dataclass(frozen=True, slots=True)
class HistoryBar:
    """The days with verdicts, oldest first, and how many of each verdict there were in all."""

    cells: tuple[Cell, ...] = ()
    totals: Mapping[str, int] | None = None

    @property
    def total(self) -> int:
        return sum((self.totals or {}).values())

    @property
    def empty(self) -> tuple[int, ...]:
        """Return the positions of the days without a verdict."""
        taken = {cell.x for cell in self.cells}
        return tuple(x for x in (place * (CELL + GAP) for place in range(DAYS)) if x not in taken)


def first_day(today: date) -> date:
    """Return the oldest day of a bar that ends today."""
    return today - timedelta(days=DAYS - 1)


def history_bar_of(by_day: Mapping[date, Mapping[str, int]], today: date) -> HistoryBar:
    """Build the bar that ends today. by_day: how many of each verdict; days outside the bar are left out."""
    cells = []
    totals = dict.fromkeys(HEIGHTS, 0)
    for day, counts in sorted(by_day.items()):
        place = (day - first_day(today)).days
        known = {name: counts[name] for name in HEIGHTS if counts.get(name)}
        if not 0 <= place < DAYS or not known:
            continue
        for name, count in known.items():
            totals[name] += count
        cells.append(Cell(day, next(iter(known)), known, place * (CELL + GAP)))
    return HistoryBar(tuple(cells), totals)
