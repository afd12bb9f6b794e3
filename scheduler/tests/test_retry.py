import pytest

from scheduler.retry import NO_RETRY, RetryPolicy


@pytest.mark.parametrize(("retries_so_far", "delay"), [(0, 30), (1, 120), (2, 300), (3, None), (99, None)])
def test_the_default_policy_waits_longer_each_time_and_then_gives_up(retries_so_far, delay):
    assert RetryPolicy().delay_after(retries_so_far) == delay


def test_no_retry_gives_up_at_once():
    assert NO_RETRY.delay_after(0) is None
