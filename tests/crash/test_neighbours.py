"""Projects that could occupy a poller alone."""

from typing import Any

import pytest

from tests.crash.scene import one, plant
from tests.processes import Installation, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.exclusive]

OF_PROJECT = (
    " FROM scheduled_jobs j JOIN deployments d ON d.id = j.deployment_id JOIN projects_project p ON p.id = d.project_id"
    " WHERE j.job_type = 'post_collect' AND p.name = %s"
)


def of(scene: Installation, what: str, project: str) -> Any:
    return one(scene, f"SELECT {what}{OF_PROJECT}", project)


def test_endpoints_that_hang_or_drip_do_not_delay_the_others(scene: Installation, endpoint: str) -> None:
    bad = [
        {"name": f"hanging-{number}", "endpoint": f"{endpoint}/hang", "deployments": 6, "within_s": 1}
        for number in range(10)
    ]
    dripping = {"name": "dripping", "endpoint": f"{endpoint}/drip", "deployments": 10, "within_s": 1}
    healthy = scene.start_endpoint()
    scene.start_poller("poller")
    plant(
        scene,
        *bad,
        dripping,
        {"name": "healthy", "endpoint": f"{healthy}/good", "deployments": 40, "within_s": 6},
    )
    wait_for(lambda: of(scene, "bool_and(status = 'completed')", "healthy"), "the healthy ones to be done", 60)
    lag = of(
        scene,
        "extract(epoch FROM percentile_cont(0.9) WITHIN GROUP (ORDER BY j.started_at - j.scheduled_at))",
        "healthy",
    )
    print(f"start lag of healthy projects, p90: {lag:.3f} s")
    # A hanging request takes five seconds; waiting for one would exceed this.
    assert lag < 2.5


def test_a_project_with_thousands_of_due_jobs_does_not_starve_the_next(scene: Installation, endpoint: str) -> None:
    other = scene.start_endpoint()
    plant(
        scene,
        {"name": "greedy", "endpoint": f"{endpoint}/slow", "deployments": 400, "within_s": 0.1},
        {"name": "modest", "endpoint": f"{other}/good", "deployments": 4, "within_s": 0.1},
    )
    scene.start_poller("poller", "--capacity", "200")
    wait_for(lambda: of(scene, "bool_and(status = 'completed')", "modest"), "the modest one to be done", 60)
    assert of(scene, "count(*) FILTER (WHERE status = 'pending')", "greedy") > 1000
