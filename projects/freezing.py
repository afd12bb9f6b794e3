"""Freezes: times in which no deployment begins, and whether one is in force. Pure but for the queries at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts.models import Team, User
from common.zones import zone_named
from projects.models import Environment, Freeze, Project

# Adjacent freezes are reported as one; a longer chain is reported without an end.
MOST_JOINED = 20
# For pages that announce the freezes of many teams.
MOST_READ = 500


@dataclass(frozen=True, slots=True)
class Frozen:
    """A freeze in force. until: its end, None: until it is lifted."""

    freeze: Freeze
    until: datetime | None

    @property
    def reason(self) -> str:
        return self.freeze.reason


@dataclass(frozen=True, slots=True)
class Announced:
    """A freeze that pages announce. starts_at: None: it is in force; until: None: until it is lifted."""

    freeze: Freeze
    starts_at: datetime | None
    until: datetime | None


def end_of(freeze: Freeze, now: datetime) -> tuple[bool, datetime | None]:
    """Return whether the freeze is in force at this time, and until when (None: open)."""
    if freeze.lifted_at is not None or now < freeze.starts_at:
        return False, None
    if freeze.ends_at is not None and now >= freeze.ends_at:
        return False, None
    if not freeze.is_weekly:
        return True, freeze.ends_at
    end = end_of_week_window(freeze, now)
    if end is None:
        return False, None
    return True, min(end, freeze.ends_at) if freeze.ends_at else end


def end_of_week_window(freeze: Freeze, now: datetime) -> datetime | None:
    """Return the end of the weekly window that contains this time, None where none does.

    In the freeze's own time zone: a window from Friday 16:00 to Monday 8:00 is an hour shorter or longer in the night
    in which clocks change.
    """
    local = now.astimezone(zone_named(freeze.time_zone))
    for weeks in (0, -1):
        start = at(local, freeze.from_weekday, freeze.from_time, weeks)
        end = at(local, freeze.until_weekday, freeze.until_time, weeks)
        if end <= start:
            end = at(local, freeze.until_weekday, freeze.until_time, weeks + 1)
        if start <= now < end:
            return end
    return None


def at(local: datetime, weekday: int | None, clock: time | None, weeks: int) -> datetime:
    """Return the moment of a weekday (0: Monday) and time in the week of `local`, so many weeks later."""
    if weekday is None or clock is None:
        raise ValueError("a weekly freeze has weekdays and times (constraint freeze_is_whole)")
    day = local.date() + timedelta(days=weekday - local.weekday(), weeks=weeks)
    return datetime.combine(day, clock, local.tzinfo)


def in_force(freezes: Iterable[Freeze], now: datetime) -> Frozen | None:
    """Return the freeze that lasts longest from now on, with the end of those that follow it without a gap."""
    rows = list(freezes)
    found: Frozen | None = None
    moment = now
    for _ in range(MOST_JOINED):
        ends = [(freeze, end) for freeze in rows for active, end in [end_of(freeze, moment)] if active]
        if not ends:
            return found
        freeze, end = max(ends, key=lambda one: (one[1] is None, one[1] or moment))
        found = Frozen(found.freeze if found else freeze, end)
        if end is None:
            return found
        moment = end
    return found and Frozen(found.freeze, None)


def next_start(freeze: Freeze, now: datetime) -> datetime | None:
    """Return when a freeze that is not in force begins; None where it does not any more."""
    start = freeze.starts_at
    if freeze.is_weekly and (start <= now or end_of_week_window(freeze, start) is None):
        earliest = max(start, now)
        local = earliest.astimezone(zone_named(freeze.time_zone))
        starts = (at(local, freeze.from_weekday, freeze.from_time, weeks) for weeks in (0, 1))
        start = next(one for one in starts if one >= earliest)
    over = freeze.lifted_at is not None or start < now or (freeze.ends_at is not None and freeze.ends_at <= start)
    return None if over else start


def announced(freezes: Iterable[Freeze], now: datetime) -> list[Announced]:
    """Return the freezes in force; where there is none, the one that begins next."""
    rows = list(freezes)
    states = [(freeze, in_force([freeze], now)) for freeze in rows]
    found = [Announced(freeze, None, state.until) for freeze, state in states if state is not None]
    coming = [(start, freeze) for freeze in rows for start in [next_start(freeze, now)] if start is not None]
    if found or not coming:
        return found
    start, freeze = min(coming, key=lambda one: one[0])
    state = in_force([freeze], start)
    return [Announced(freeze, start, state.until if state else freeze.ends_at)]


def concerning(environment: Environment, team_id: int) -> list[Any]:
    """Return the freezes that are or may come in force for an environment, with the time of the database: `now`."""
    concerned = Q(environment=environment) | Q(environment=None)
    return list(Freeze.objects.standing().filter(concerned, team_id=team_id).annotate(now=Now()))


def frozen(environment: Environment, team_id: int) -> Frozen | None:
    """Return the freeze in force for an environment, None: deployments may begin. One query."""
    rows = concerning(environment, team_id)
    return in_force(rows, rows[0].now) if rows else None


def announced_in(environment: Environment, team_id: int) -> list[Announced]:
    """Return the freeze in force for an environment, as `frozen`, else the next one. One query."""
    rows = concerning(environment, team_id)
    found = in_force(rows, rows[0].now) if rows else None
    if found is not None:
        return [Announced(found.freeze, None, found.until)]
    return announced(rows, rows[0].now) if rows else []


def announced_to(teams: QuerySet[Team], project: Project | None = None) -> list[Announced]:
    """Return the freezes in force in these teams, else the next one. project: those that concern it. One query."""
    rows: QuerySet[Any] = Freeze.objects.standing().filter(team__in=teams).annotate(now=Now())
    of_project = {f"environment__project__{name}": None for name in ("deleting_at", "archived_at")}
    alive = Q(environment=None) | Q(environment__deleting_at=None, **of_project)
    if project is not None:
        alive &= Q(environment=None) | Q(environment__project=project)
    found = list(rows.filter(alive).select_related("team", "environment__project").order_by("pk")[:MOST_READ])
    return announced(found, found[0].now) if found else []


def lift(freeze: Freeze, by: User) -> bool:
    """End a freeze now; return False where it has ended already."""
    return Freeze.objects.standing().filter(pk=freeze.pk).update(lifted_at=Now(), lifted_by=by) == 1


def overview(team: Team, now: datetime) -> list[tuple[Freeze, Frozen | None]]:
    """Return the team's freezes that are not over, each with its state, those in force first."""
    rows = Freeze.objects.standing().filter(team=team).select_related("environment__project", "created_by")
    found = [(freeze, in_force([freeze], now)) for freeze in rows.order_by("-pk")]
    return sorted(found, key=lambda one: one[1] is None)


def environments_of(team: Team) -> QuerySet[Environment]:
    """Return the environments that a freeze of the team may name."""
    projects = Project.objects.active().filter(team=team)
    rows = Environment.objects.not_deleted().filter(project__in=projects)
    return rows.select_related("project").order_by("project__name", "name")
