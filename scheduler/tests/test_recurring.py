from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from scheduler import recurring as module
from scheduler import registry
from scheduler.models import ScheduledJob
from scheduler.recurring import Recurring, plan_recurring, recurring
from scheduler.tests.kinds import wait_until
from scheduler.tests.pollers import running_poller

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ran() -> Iterator[list[int]]:
    """Announces a kind that recurs every second for the time of a test; its runs are counted."""
    runs: list[int] = []
    others = dict(module._recurring)
    module._recurring.clear()
    recurring("every_second", every_s=1)(lambda: runs.append(1))
    yield runs
    module._recurring.clear()
    module._recurring.update(others)
    del registry._kinds["every_second"]


def test_ticks_lie_at_multiples_of_the_interval() -> None:
    job = Recurring("sweep", 60).tick_after(datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC))
    assert job.scheduled_at == datetime(2026, 1, 1, 12, 1, tzinfo=UTC)
    assert job.expires_at == datetime(2026, 1, 1, 12, 2, tzinfo=UTC)


def test_planning_twice_plans_once(ran: list[int]) -> None:
    plan_recurring()
    planned = ScheduledJob.objects.count()
    plan_recurring()
    # The clock may tick over between the two.
    assert planned == 1
    assert ScheduledJob.objects.count() <= 2


def test_three_pollers_make_one_run_per_tick(ran: list[int]) -> None:
    with running_poller(), running_poller(), running_poller():
        wait_until(lambda: len(ran) >= 3)
    done = ScheduledJob.objects.filter(status="completed")
    assert done.count() == len(set(done.values_list("unique_key", flat=True))) == len(ran)
