"""Pollers that are killed, frozen or stopped."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.crash.scene import (
    LONG_LEASE_S,
    assert_every_deployment_is_judged,
    count_events,
    events,
    one,
    plant,
    poller_names,
    running_jobs,
    took,
    wait_until_busy,
    wait_until_settled,
)
from tests.processes import Installation, wait_for

pytestmark = pytest.mark.e2e

KILLS = 4


def owner_of(scene: Installation, process: subprocess.Popen[bytes]) -> str:
    return poller_names(scene)[process.pid]


def test_jobs_of_killed_pollers_are_taken_over_at_once(scene: Installation, endpoint: str) -> None:
    pollers = [scene.start_poller(f"poller-{number}", "--lease", LONG_LEASE_S) for number in range(3)]
    plant(scene, {"name": "shop", "endpoint": f"{endpoint}/slow", "deployments": 120, "within_s": 12})
    orphans: set[tuple[int]] = set()
    for number in range(KILLS):
        pid, name = wait_for(lambda: busiest(scene, [poller.pid for poller in pollers]), "a poller to have work")
        [victim] = [poller for poller in pollers if poller.pid == pid]
        victim.kill()
        victim.wait()
        orphans |= set(scene.rows("SELECT id FROM scheduled_jobs WHERE status = 'running' AND locked_by = %s", name))
        pollers.remove(victim)
        with took("taken over after SIGKILL"):
            # Far below its lease: the other pollers notice the released lock.
            wait_for(lambda name=name: running_jobs(scene, name) == 0, "its jobs to be taken over", 20)  # type: ignore[misc]
        options = ("--lease", LONG_LEASE_S)
        pollers.append(scene.start(f"poller-{number + 3}", sys.executable, "manage.py", "run_poller", *options))
    jobs = assert_every_deployment_is_judged(scene)
    assert jobs == {"completed": 600, "cancelled": 120}
    recovered = scene.rows("""SELECT id FROM scheduled_jobs WHERE history @> '[{"code": "poller_lost"}]'""")
    assert orphans and orphans <= set(recovered)
    assert one(scene, "SELECT count(*) FROM scheduled_jobs WHERE job_type = 'analysis' AND status = 'completed'") == 120


def busiest(scene: Installation, pids: list[int]) -> tuple[int, str] | None:
    """Return process id and name of the poller with the most jobs, if one has any."""
    rows = scene.rows(
        "SELECT pid, name FROM pollers JOIN scheduled_jobs ON locked_by = name WHERE status = 'running'"
        " AND pid = ANY(%s) GROUP BY 1, 2 ORDER BY count(*) DESC LIMIT 1",
        pids,
    )
    return rows[0] if rows else None


def test_a_frozen_pollers_late_results_are_discarded(scene: Installation, endpoint: str) -> None:
    frozen = scene.start_poller("frozen", "--lease", "2")
    plant(scene, {"name": "shop", "endpoint": f"{endpoint}/slow", "deployments": 60, "within_s": 4})
    name = owner_of(scene, frozen)
    wait_until_busy(scene, name)
    os.kill(frozen.pid, signal.SIGSTOP)
    held = running_jobs(scene, name)
    scene.start_poller("taker", "--lease", "2")
    wait_until_settled(scene)
    assert held > 0
    os.kill(frozen.pid, signal.SIGCONT)
    # Requests under way have an answer or a timeout; neither overwrites the result of the poller that took over.
    late = ("results_discarded", "taken_over")
    wait_for(
        lambda: any(line.get("event") in late or line.get("status") in late for line in events(scene, "frozen")),
        "it to find out",
    )
    # It continues to work.
    plant(scene, {"name": "later", "endpoint": f"{endpoint}/slow", "deployments": 10, "within_s": 1})
    jobs = assert_every_deployment_is_judged(scene)
    assert jobs == {"completed": 350, "cancelled": 70}
    assert frozen.poll() is None


def test_after_an_outage_missed_samples_are_reported_and_not_taken_at_one_instant(
    scene: Installation, endpoint: str
) -> None:
    poller = scene.start_poller("before", "--lease", LONG_LEASE_S)
    shop = {"name": "shop", "endpoint": f"{endpoint}/slow", "deployments": 20, "within_s": 5, "of_use_s": 2}
    plant(scene, shop)
    wait_until_busy(scene, owner_of(scene, poller))
    poller.kill()
    poller.wait()
    over = "SELECT count(*) = 0 FROM scheduled_jobs WHERE job_type = 'post_collect' AND expires_at > now()"
    wait_for(lambda: one(scene, over), "the time of every sample to be over", 30)
    scene.start_poller("after")
    jobs = assert_every_deployment_is_judged(scene)
    # The PRE samples were cancelled at creation.
    assert jobs["cancelled"] == 20
    assert jobs["expired"] > 0
    assert jobs.get("completed", 0) + jobs["expired"] == 100
    late = "SELECT count(*) FROM scheduled_jobs WHERE job_type = 'post_collect' AND started_at > expires_at"
    assert one(scene, late) == 0
    silent = """
        SELECT count(*) FROM deployment_verdicts v JOIN scheduled_jobs j USING (deployment_id)
        WHERE j.status = 'expired' AND NOT v.evidence->'misses' @> '[{"reason": "expired"}]'
    """
    assert one(scene, silent) == 0


@pytest.mark.exclusive
def test_sigterm_ends_what_runs_hands_back_the_rest_and_exits_in_time(scene: Installation, endpoint: str) -> None:
    poller = scene.start_poller("poller", "--capacity", "60")
    plant(
        scene,
        {"name": "slow", "endpoint": f"{endpoint}/slow", "deployments": 40, "within_s": 0.1},
        {"name": "hanging", "endpoint": f"{endpoint}/hang", "deployments": 10, "within_s": 0.1},
    )
    wait_until_busy(scene, owner_of(scene, poller), 20)
    poller.terminate()
    assert poller.wait(timeout=10) == 0
    assert one(scene, "SELECT count(*) FROM scheduled_jobs WHERE status = 'running'") == 0
    assert poller_names(scene) == {}
    scene.start_poller("next")
    jobs = wait_for(
        lambda: one(
            scene,
            "SELECT bool_and(status = 'completed') FROM scheduled_jobs j JOIN deployments d ON d.id = j.deployment_id"
            " JOIN projects_project p ON p.id = d.project_id WHERE p.name = 'slow' AND job_type = 'post_collect'",
        ),
        "the rest to be done",
    )
    assert jobs


@pytest.mark.exclusive
def test_a_second_sigterm_ends_at_once_and_loses_nothing(scene: Installation, endpoint: str) -> None:
    poller = scene.start_poller("poller", "--lease", LONG_LEASE_S)
    plant(scene, {"name": "shop", "endpoint": f"{endpoint}/hang", "deployments": 4, "within_s": 0.1})
    wait_until_busy(scene, owner_of(scene, poller))
    poller.terminate()
    wait_for(lambda: count_events(scene, "poller", "poller_stopping") or None, "it to begin to stop")
    begun = time.monotonic()
    poller.terminate()
    assert poller.wait(timeout=10) == 130
    # A hanging request takes five seconds; the shutdown did not wait for it.
    assert time.monotonic() - begun < 4
    scene.start_poller("next")
    wait_for(
        lambda: one(
            scene,
            "SELECT bool_and(history IS NOT NULL AND (status = 'failed' OR retry_count > 0)) FROM scheduled_jobs"
            " WHERE job_type = 'post_collect'",
        ),
        "the next one to have tried them",
        30,
    )


# The leases are half the clock error: enough to be wrong by it, and longer than pauses of a busy machine.
def test_wrong_clocks_change_neither_due_times_nor_leases_and_are_told(scene: Installation, endpoint: str) -> None:
    names = {"right": 0, "fast": 60, "slow": -60}
    for name, ahead_s in names.items():
        scene.start(name, sys.executable, "-m", "tests.crash.skewed", str(ahead_s), "--lease", "30")
    pids = [scene.children.running[name].pid for name in names]
    wait_for(lambda: set(pids) <= set(poller_names(scene)), "the pollers")
    plant(scene, {"name": "shop", "endpoint": f"{endpoint}/slow", "deployments": 60, "within_s": 4})
    jobs = assert_every_deployment_is_judged(scene)
    assert jobs == {"completed": 300, "cancelled": 60}
    odd = scene.rows(
        "SELECT j.id FROM scheduled_jobs j JOIN metric_samples s ON s.deployment_id = j.deployment_id"
        " AND s.phase = j.phase AND s.sequence_index = j.sequence_index"
        " WHERE j.started_at < j.scheduled_at OR s.collected_at < j.started_at OR s.collected_at > j.finished_at"
    )
    assert odd == []
    assert one(scene, "SELECT count(*) FROM scheduled_jobs WHERE history IS NOT NULL OR retry_count > 0") == 0
    ahead = dict(scene.rows("SELECT pid, clock_ahead_s FROM pollers"))
    for name, pid in zip(names, pids, strict=True):
        assert scene.children.running[name].poll() is None
        assert count_events(scene, name, "jobs_completed") > 0, f"{name} has done nothing"
        assert ahead[pid] == pytest.approx(names[name], abs=2), name
