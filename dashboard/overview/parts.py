"""Parts of the overview: guide, health of environments, history bars. Pure.

The delivery figures are in analysis/delivery.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from analysis.judge.types import OK, ROLLBACK, WARNING

# Days that people may look back; the first is what they get who ask for none of them.
DEFAULT_DAYS = 30
PERIODS = (7, 30, 90)


def days_of(value: str | None) -> int:
    """Return the period named in the URL, else the default."""
    return next((days for days in PERIODS if value == str(days)), DEFAULT_DAYS)


DONE, CURRENT, TODO = "done", "current", "todo"
PROJECT, ENDPOINT, KEY, TRIGGER, FINISH, VERDICT = "project", "endpoint", "key", "trigger", "finish", "verdict"
STEPS = (PROJECT, ENDPOINT, KEY, TRIGGER, FINISH, VERDICT)


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a project from the database.

    has_endpoint: a URL is set; answered: a sample came from it; has_key, key_used: of API keys that are not revoked;
    triggered, finished, judged: of its deployments.
    """

    has_project: bool = False
    has_endpoint: bool = False
    answered: bool = False
    has_key: bool = False
    key_used: bool = False
    triggered: bool = False
    finished: bool = False
    judged: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A step and its state."""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Guide:
    """The steps for one project. project, environment: None where there is none yet; deployment: its latest;
    may_create: whether the user may take the first step, asked only where it is not taken yet."""

    facts: Facts
    project: Any = None
    environment: Any = None
    deployment: Any = None
    may_create: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        return steps_of(self.facts)

    @property
    def done(self) -> int:
        return sum(step.state == DONE for step in self.steps)


def steps_of(facts: Facts) -> tuple[Step, ...]:
    """Return all steps: done ones, the next one, and later ones."""
    reached = {
        PROJECT: facts.has_project,
        ENDPOINT: facts.answered,
        KEY: facts.has_key or facts.triggered,
        TRIGGER: facts.triggered,
        FINISH: facts.finished,
        VERDICT: facts.judged,
    }
    current = next((name for name in STEPS if not reached[name]), "")
    return tuple(Step(name, DONE if reached[name] else CURRENT if name == current else TODO) for name in STEPS)


@dataclass(frozen=True, slots=True)
class NextSteps:
    """What is left to set up after the first verdict.

    read: a judged deployment to read, if the page has one; team: the one to set a channel up in, None: of several.
    """

    connected: bool
    notified: bool
    read: Any = None
    team: Any = None

    @property
    def all_done(self) -> bool:
        return self.connected and self.notified


OBSERVING, NONE = "observing", "none"
ORDER = (ROLLBACK, OBSERVING, WARNING, OK, NONE)


def health_of(verdict: str | None, *, in_progress: bool, unhealthy: bool = False) -> str:
    """Return one of ORDER, by the last verdict and whether a deployment or its observation is in progress.

    A recommended rollback stays first until the next verdict. unhealthy: the service is, though the deployment may not
    have changed that: never among those that are ok.
    """
    if verdict == ROLLBACK:
        return ROLLBACK
    if in_progress:
        return OBSERVING
    if unhealthy and verdict == OK:
        return WARNING
    return verdict if verdict in (WARNING, OK) else NONE


@dataclass(frozen=True, slots=True)
class HealthSummary:
    """The number of environments by health."""

    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def gravest(self) -> str:
        """Return what the headline is about: a verdict before an observation, which has no outcome yet."""
        for health in (ROLLBACK, WARNING, OBSERVING, OK):
            if self.counts[health]:
                return health
        return NONE

    @property
    def of_gravest(self) -> int:
        return self.counts[self.gravest]


# A history bar has one cell per day, however many deployments a day has. A cell shows the gravest verdict of its day.
# Its height says the same as its colour: low is ok, middle a warning, full a recommended rollback.
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
