from datetime import UTC, datetime, timedelta

import pytest

from deployments.plan import SHORTEST_USE_S, analysis_due_at, post_samples, pre_sample_expires_at

FINISH = datetime(2026, 2, 13, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize("count", [1, 5, 15])
def test_sample_i_is_due_i_intervals_after_finish_and_of_use_until_the_next(count):
    samples = post_samples(FINISH, count, 60)
    assert [sample.sequence_index for sample in samples] == list(range(1, count + 1))
    assert [sample.scheduled_at for sample in samples] == [
        FINISH + timedelta(minutes=minute) for minute in range(1, count + 1)
    ]
    assert all(sample.expires_at - sample.scheduled_at == timedelta(minutes=1) for sample in samples)


def test_with_a_very_short_interval_a_sample_may_still_be_a_little_late():
    [first, *_] = post_samples(FINISH, 5, 0.5)
    assert first.expires_at - first.scheduled_at == timedelta(seconds=SHORTEST_USE_S)


@pytest.mark.parametrize("interval_s", [0.5, 1, 60])
def test_the_analysis_falls_due_only_when_no_sample_can_come_any_more(interval_s):
    assert analysis_due_at(FINISH, 5, interval_s) == post_samples(FINISH, 5, interval_s)[-1].expires_at


def test_the_pre_sample_is_tried_for_one_window():
    assert pre_sample_expires_at(FINISH, 5, 60) == FINISH + timedelta(minutes=5)
