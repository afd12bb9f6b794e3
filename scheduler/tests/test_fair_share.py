from dataclasses import replace
from datetime import UTC, datetime

from scheduler.fair_share import ClaimLimits, FairShare, tenant_queue
from scheduler.registry import Job

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KINDS = ["collect", "compute"]


def a_job(key: int | None, job_type: str = "collect") -> Job:
    return Job(1, job_type, "", 0, None, NOON, None, 0, {}, NOON, fair_key=key)


def shares(capacity: int = 100, thread_places: int = 10) -> FairShare:
    return FairShare(capacity, thread_places, lambda name: name == "compute")


def limits_of(pool: FairShare) -> ClaimLimits:
    limits = pool.limits(KINDS, 200)
    assert limits is not None
    return limits


def fill(pool: FairShare, keys: list[int], demand: int) -> dict[int, int]:
    """Return the jobs that each tenant gets when all request that many, one after another."""
    got = dict.fromkeys(keys, 0)
    for _ in range(demand):
        for key in keys:
            limits = pool.limits(KINDS, 1)
            if limits and tenant_queue("collect", key) not in limits.full_queues:
                pool.add(a_job(key))
                got[key] += 1
    return got


def test_a_project_alone_gets_half_of_the_places() -> None:
    assert fill(shares(), [1], 100) == {1: 50}


def test_two_greedy_projects_get_a_third_each_and_a_newcomer_finds_room() -> None:
    pool = shares()
    got = fill(pool, [1, 2], 100)
    assert got[1] + got[2] in (66, 67)
    assert abs(got[1] - got[2]) <= 1
    assert fill(pool, [3], 5) == {3: 5}


def test_many_modest_projects_hold_nobody_back() -> None:
    pool = shares()
    assert set(fill(pool, list(range(50)), 1).values()) == {1}


def test_places_come_back() -> None:
    pool = shares()
    fill(pool, [1], 100)
    pool.remove(a_job(1))
    assert "collect:1" not in limits_of(pool).full_queues


def test_jobs_of_nobody_share_with_nobody() -> None:
    pool = shares(capacity=3)
    for _ in range(2):
        pool.add(a_job(None))
    assert pool.limits(KINDS, 200) == ClaimLimits(1, [], [])


def test_a_full_event_loop_leaves_the_threads_open_and_the_other_way_round() -> None:
    pool = shares(capacity=1, thread_places=1)
    pool.add(a_job(None))
    assert limits_of(pool).full_kinds == ["collect"]
    pool.add(a_job(None, "compute"))
    assert pool.limits(KINDS, 200) is None
    pool.remove(a_job(None))
    assert limits_of(pool).full_kinds == ["compute"]


def test_a_claim_takes_no_more_than_half_of_what_is_free() -> None:
    assert limits_of(shares()).limit == 50


def test_each_kind_of_a_project_has_its_own_queue() -> None:
    pool = shares()
    fill(pool, [1], 100)
    pool.add(replace(a_job(1), job_type="compute"))
    assert limits_of(pool).full_queues == ["collect:1"]
