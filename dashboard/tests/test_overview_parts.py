"""Parts of the overview, without a database: figures, history bars, ranking, guide."""

from datetime import date, timedelta
from typing import Any

import pytest

from analysis.delivery import Figures
from dashboard.overview.parts import (
    DAYS,
    DEFAULT_DAYS,
    HEIGHT,
    ORDER,
    STEPS,
    WIDTH,
    Facts,
    HealthSummary,
    days_of,
    health_of,
    history_bar_of,
    steps_of,
)

TODAY = date(2026, 3, 31)


@pytest.mark.parametrize(
    ("value", "days"),
    [
        ("7", 7),
        ("30", 30),
        ("90", 90),
        (None, DEFAULT_DAYS),
        ("", DEFAULT_DAYS),
        ("8", DEFAULT_DAYS),
        ("\u0667", DEFAULT_DAYS),
    ],
)
def test_only_three_periods_can_be_asked_for(value, days):
    assert days_of(value) == days


@pytest.mark.parametrize(
    ("deployed", "judged", "failed", "per_day", "rate", "digits"),
    [
        (0, 0, 0, 0.0, None, 2),
        (3, 2, 1, 0.1, 0.5, 2),
        (60, 50, 5, 2.0, 0.1, 1),
        (3000, 3000, 0, 100.0, 0.0, 0),
    ],
)
def test_the_figures_follow_from_what_was_counted(deployed, judged, failed, per_day, rate, digits):
    figures = Figures(30, deployed=deployed, judged=judged, failed=failed)
    assert (figures.per_day, figures.failure_rate, figures.per_day_digits) == (per_day, rate, digits)


@pytest.mark.parametrize(
    ("verdict", "in_progress", "standing"),
    [
        ("rollback_recommended", False, "rollback_recommended"),
        ("rollback_recommended", True, "rollback_recommended"),
        ("warning", False, "warning"),
        ("warning", True, "observing"),
        ("ok", False, "ok"),
        ("ok", True, "observing"),
        (None, True, "observing"),
        (None, False, "none"),
        ("of another version", False, "none"),
    ],
)
def test_an_environment_stands_by_its_last_verdict_and_what_goes_on(verdict, in_progress, standing):
    assert health_of(verdict, in_progress=in_progress) == standing


def test_an_unhealthy_service_is_never_among_those_that_are_ok():
    assert health_of("ok", in_progress=False, unhealthy=True) == "warning"


def test_trouble_comes_first():
    assert list(ORDER) == ["rollback_recommended", "observing", "warning", "ok", "none"]


@pytest.mark.parametrize(
    ("standings", "gravest", "count"),
    [
        (["ok", "rollback_recommended", "warning", "rollback_recommended"], "rollback_recommended", 2),
        (["ok", "observing", "warning"], "warning", 1),
        (["ok", "observing", "none"], "observing", 1),
        (["ok", "none", "ok"], "ok", 2),
        (["none"], "none", 1),
        ([], "none", 0),
    ],
)
def test_the_headline_is_about_the_gravest(standings, gravest, count):
    total = HealthSummary({health: standings.count(health) for health in ORDER})
    assert (total.gravest, total.of_gravest, total.total) == (gravest, count, len(standings))


def test_a_day_shows_its_gravest_verdict_and_counts_all():
    strip = history_bar_of({TODAY: {"ok": 40, "rollback_recommended": 1, "warning": 2}}, TODAY)
    (cell,) = strip.cells
    assert cell.verdict == "rollback_recommended"
    assert dict(cell.counts) == {"rollback_recommended": 1, "warning": 2, "ok": 40}
    assert strip.totals == {"rollback_recommended": 1, "warning": 2, "ok": 40}
    assert strip.total == 43


def test_graver_verdicts_stand_higher():
    days = {TODAY - timedelta(days=n): {name: 1} for n, name in enumerate(("rollback_recommended", "warning", "ok"))}
    heights = [cell.height for cell in history_bar_of(days, TODAY).cells]
    assert heights == sorted(heights)
    assert len(set(heights)) == 3
    assert heights[-1] == HEIGHT


def test_the_strip_ends_today_and_keeps_to_its_days():
    days = {TODAY - timedelta(days=n): {"ok": 1} for n in (-1, 0, DAYS - 1, DAYS)}
    strip = history_bar_of(days, TODAY)
    assert [cell.day for cell in strip.cells] == [TODAY - timedelta(days=DAYS - 1), TODAY]
    assert strip.cells[0].x == 0
    assert strip.cells[-1].x + 6 == WIDTH
    assert len(strip.empty) == DAYS - 2


def test_a_verdict_that_is_unknown_is_no_cell():
    assert history_bar_of({TODAY: {"of another version": 3}}, TODAY).total == 0


@pytest.mark.parametrize(
    ("facts", "done", "current"),
    [
        ({}, 0, "project"),
        ({"has_project": True}, 1, "endpoint"),
        ({"has_project": True, "has_endpoint": True}, 1, "endpoint"),
        ({"has_project": True, "has_endpoint": True, "answered": True}, 2, "key"),
        ({"has_project": True, "answered": True, "has_key": True}, 3, "trigger"),
        # The key may be gone by now; there was one.
        ({"has_project": True, "answered": True, "triggered": True}, 4, "finish"),
        ({"has_project": True, "triggered": True, "has_key": True, "finished": True}, 4, "endpoint"),
        ({"has_project": True, "answered": True, "has_key": True, "triggered": True, "finished": True}, 5, "verdict"),
        (dict.fromkeys(("has_project", "answered", "has_key", "triggered", "finished", "judged"), True), 6, None),
    ],
)
def test_the_guide_knows_what_is_done_and_what_is_next(facts: dict[str, Any], done: int, current: str | None):
    steps = steps_of(Facts(**facts))
    assert [step.name for step in steps] == list(STEPS)
    assert sum(step.state == "done" for step in steps) == done
    assert [step.name for step in steps if step.state == "current"] == ([current] if current else [])
