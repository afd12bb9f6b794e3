"""When a freeze is in force, and until when."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from projects.freezing import in_force
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
