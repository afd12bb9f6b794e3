from datetime import UTC, datetime, time

import pytest

from notifications.rules import Timing, send_at

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)  # the night in which Paris changes to summer time
NIGHT = Timing("Europe/Paris", time(22), time(7))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


@pytest.mark.parametrize(
    ("timing", "critical", "alike", "expected"),
    [
        (Timing(), False, None, "2026-03-29T00:30"),
        (NIGHT, False, None, "2026-03-29T05:00"),
        (NIGHT, True, None, "2026-03-29T00:30"),
        (Timing("UTC", time(1), time(2)), False, None, "2026-03-29T00:30"),
        (Timing("UTC", time(0), time(1)), False, None, "2026-03-29T01:00"),
        (Timing("UTC", time(3), time(3)), False, None, "2026-03-29T00:30"),
        (Timing(digest="hourly"), False, None, "2026-03-29T01:00"),
        (Timing("Europe/Paris", digest="daily"), False, None, "2026-03-29T06:00"),
        (Timing(digest="daily"), True, None, "2026-03-29T00:30"),
        (Timing(cooldown_s=600), False, "2026-03-29T00:25", "2026-03-29T00:35"),
        (Timing(cooldown_s=600), True, "2026-03-29T00:25", "2026-03-29T00:35"),
        (Timing(cooldown_s=600), False, "2026-03-29T00:10", "2026-03-29T00:30"),
        (Timing(cooldown_s=600), True, "2026-03-29T05:00", "2026-03-29T00:40"),
        # A digest gathers: what waits for it does not put it off.
        (Timing(digest="hourly", cooldown_s=600), False, "2026-03-29T01:00", "2026-03-29T01:00"),
        (Timing("Europe/Paris", digest="daily"), False, "2026-03-29T06:00", "2026-03-29T06:00"),
        # A zone that the system knows no more.
        (Timing("Europe/Atlantis", time(0), time(1)), False, None, "2026-03-29T01:00"),
        # One waits already: they go together.
        (Timing(cooldown_s=600), False, "2026-03-29T00:35", "2026-03-29T00:35"),
    ],
)
def test_when_an_event_is_sent(timing: Timing, critical: bool, alike: str | None, expected: str) -> None:
    assert send_at(timing, NOW, critical=critical, alike_sent_at=at(alike) if alike else None) == at(expected)


@pytest.mark.parametrize(("now", "expected"), [("00:20", "00:30"), ("01:20", "01:30"), ("00:40", "00:40")])
def test_quiet_hours_that_end_in_the_hour_that_clocks_repeat(now: str, expected: str) -> None:
    paris = Timing("Europe/Paris", time(22), time(2, 30))  # 2:30 comes at 0:30 and at 1:30 UTC
    sent = send_at(paris, at(f"2026-10-25T{now}"), critical=False, alike_sent_at=None)
    assert sent == at(f"2026-10-25T{expected}")
