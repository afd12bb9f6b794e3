"""When a freeze is in force, and until when."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from projects.freezing import announced, in_force
from projects.models import Freeze

# A Wednesday.
NOW = datetime(2026, 3, 25, 12, 0, tzinfo=UTC)
WEEKEND = {"from_weekday": 4, "from_time": time(16), "until_weekday": 0, "until_time": time(8)}


def freeze(**fields: Any) -> Freeze:
    return Freeze(**{"starts_at": NOW - timedelta(days=30), "reason": "x", **fields})


def moment(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


NOT_FROZEN = "no"
OPEN = None
CASES: list[tuple[str, list[dict[str, Any]], str, str | None]] = [
    ("none", [], "2026-03-25T12:00", NOT_FROZEN),
    ("a switch", [{}], "2026-03-25T12:00", OPEN),
    ("lifted", [{"lifted_at": NOW}], "2026-03-25T12:00", NOT_FROZEN),
    ("dated", [{"ends_at": moment("2026-03-26T00:00")}], "2026-03-25T12:00", "2026-03-26T00:00"),
    ("at its end", [{"ends_at": NOW}], "2026-03-25T12:00", NOT_FROZEN),
    ("not yet", [{"starts_at": NOW + timedelta(seconds=1)}], "2026-03-25T12:00", NOT_FROZEN),
    ("before the weekend", [WEEKEND], "2026-03-27T15:59", NOT_FROZEN),
    ("the weekend begins", [WEEKEND], "2026-03-27T16:00", "2026-03-30T08:00"),
    ("Sunday", [WEEKEND], "2026-03-29T12:00", "2026-03-30T08:00"),
    ("Monday at eight", [WEEKEND], "2026-03-30T08:00", NOT_FROZEN),
    ("Monday before eight", [WEEKEND], "2026-03-30T07:59", "2026-03-30T08:00"),
    # Clocks are put forward in this weekend: Monday 8:00 in Paris is 6:00 UTC, Friday 16:00 was 15:00 UTC.
    ("in a zone that is gone: UTC", [{**WEEKEND, "time_zone": "Mars/Olympus"}], "2026-03-27T16:00", "2026-03-30T08:00"),
    ("in Paris", [{**WEEKEND, "time_zone": "Europe/Paris"}], "2026-03-27T15:00", "2026-03-30T06:00"),
    ("in Paris, over", [{**WEEKEND, "time_zone": "Europe/Paris"}], "2026-03-30T06:00", NOT_FROZEN),
    (
        "an hour of a day",
        [{"from_weekday": 2, "from_time": time(11), "until_weekday": 2, "until_time": time(13)}],
        "2026-03-25T12:00",
        "2026-03-25T13:00",
    ),
    (
        "but an hour of a week",
        [{"from_weekday": 2, "from_time": time(13), "until_weekday": 2, "until_time": time(11)}],
        "2026-03-25T12:00",
        NOT_FROZEN,
    ),
    (
        "a whole week",
        [{"from_weekday": 2, "from_time": time(12), "until_weekday": 2, "until_time": time(12)}],
        "2026-03-25T11:59",
        OPEN,
    ),
    (
        "weekly until a date",
        [{**WEEKEND, "ends_at": moment("2026-03-28T00:00")}],
        "2026-03-27T20:00",
        "2026-03-28T00:00",
    ),
    (
        "the longer of two",
        [{"ends_at": moment("2026-03-26T00:00")}, {"ends_at": moment("2026-03-27T00:00")}],
        "2026-03-25T12:00",
        "2026-03-27T00:00",
    ),
    (
        "one that touches the next",
        [{"ends_at": moment("2026-03-27T17:00")}, WEEKEND],
        "2026-03-27T12:00",
        "2026-03-30T08:00",
    ),
    ("an open one wins", [{"ends_at": moment("2026-03-26T00:00")}, {}], "2026-03-25T12:00", OPEN),
]


@pytest.mark.parametrize(("freezes", "now", "until"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_when_deployments_are_frozen(freezes: list[dict[str, Any]], now: str, until: str | None) -> None:
    found = in_force([freeze(**fields) for fields in freezes], moment(now))
    if until == NOT_FROZEN:
        assert found is None
    else:
        assert found is not None
        assert found.until == (moment(until) if until else None)


COMING: list[tuple[str, list[dict[str, Any]], str | None, str | None]] = [
    ("none", [], None, None),
    ("over", [{"ends_at": NOW}, {"lifted_at": NOW}], None, None),
    ("in force", [{}, {"starts_at": NOW + timedelta(days=1)}], None, OPEN),
    ("the next of two", [{"starts_at": moment("2026-03-28T00:00")}, WEEKEND], "2026-03-27T16:00", "2026-03-30T08:00"),
    ("open from then on", [{"starts_at": moment("2026-03-26T00:00")}], "2026-03-26T00:00", OPEN),
    ("next week", [{**WEEKEND, "from_weekday": 2, "until_weekday": 2}], "2026-03-25T16:00", "2026-04-01T08:00"),
    ("weekly, but over before", [{**WEEKEND, "ends_at": moment("2026-03-27T16:00")}], None, None),
    (
        "weekly from the middle of a window",
        [{**WEEKEND, "starts_at": moment("2026-03-28T12:00")}],
        "2026-03-28T12:00",
        "2026-03-30T08:00",
    ),
    (
        "weekly from later on",
        [{**WEEKEND, "starts_at": moment("2026-03-31T12:00")}],
        "2026-04-03T16:00",
        "2026-04-06T08:00",
    ),
]


@pytest.mark.parametrize(("freezes", "start", "until"), [case[1:] for case in COMING], ids=[case[0] for case in COMING])
def test_the_freeze_that_is_announced(freezes: list[dict[str, Any]], start: str | None, until: str | None) -> None:
    found = announced([freeze(**fields) for fields in freezes], NOW)
    if start is None and (not freezes or freezes[0]):
        assert found == []
    else:
        [one] = found
        assert one.starts_at == (moment(start) if start else None)
        assert one.until == (moment(until) if until else None)
