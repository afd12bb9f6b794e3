"""Rollouts across real processes: canaries beside the old version, blue/green, steps, and a poller that is killed."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from subprocess import Popen
from typing import Any

import pytest

from metrics.tests.site import Asked, Page, Site, serving
from tests.processes import Installation, wait_for

pytestmark = pytest.mark.e2e
METRICS = {"requests_per_sec": 50.0, "latency_p95": 120.0, "error_rate": 0.001, "cpu_usage": 0.3, "memory_usage": 0.4}
PEAK = {"latency_p95": 700.0, "error_rate": 0.1, "cpu_usage": 0.7}
OF = "FROM metric_samples AS sample JOIN deployments ON deployments.id = deployment_id WHERE deployments.uuid = %s"
INSTANTS = f'SELECT collected_at, "group" {OF}'
LATENCIES = f"SELECT DISTINCT phase, latency_p95 {OF}"
PLACES = f"SELECT \"group\", sequence_index, count(*) {OF} AND phase = 'step' GROUP BY 1, 2 ORDER BY 1, 2"
DOUBLED = """SELECT 1 FROM metric_samples WHERE deployment_id IS NOT NULL
GROUP BY deployment_id, phase, "group", sequence_index HAVING count(*) > 1"""
RUNNING_STEP = "SELECT 1 FROM scheduled_jobs WHERE job_type = 'step_collect' AND status = 'running'"


@pytest.fixture(scope="module")
def site(installation: Installation) -> Iterator[Installation]:
    installation.start_web()
    # A busy machine may pause for longer than a sample of such a short interval is valid.
    with installation.late_expiry():
        yield installation


@pytest.fixture(scope="module")
def versions() -> Iterator[tuple[Site, Site]]:
    """Servers of the new and of the old version, at two origins."""
    with ExitStack() as stack:
        yield stack.enter_context(serving()), stack.enter_context(serving())


def page(*changes: Callable[[], dict[str, float]]) -> Callable[[Asked], Page]:
    """Return a metrics page with what changes."""

    def answer(_: Asked) -> Page:
        metrics = dict(METRICS)
        for change in changes:
            metrics |= change()
        return Page(json.dumps({"metrics": metrics}).encode())

    return answer


def wait_until_collected(site: Installation) -> None:
    """Wait for the samples from before, without the seconds between them."""
    site.rows("UPDATE scheduled_jobs SET scheduled_at = now() WHERE job_type = 'pre_collect' AND status = 'pending'")
    left = "SELECT 1 FROM scheduled_jobs WHERE job_type = 'pre_collect' AND status IN ('pending', 'running')"
    wait_for(lambda: not site.rows(left), "the samples from before")


def test_what_both_versions_suffer_is_not_blamed_on_the_new_one(
    site: Installation, versions: tuple[Site, Site]
) -> None:
    new, old = versions
    at_peak: list[bool] = []
    asked_flaky: list[Asked] = []

    def peak() -> dict[str, float]:
        return PEAK if at_peak else {}

    def flaky(asked: Asked) -> Page:
        asked_flaky.append(asked)
        return page(peak)(asked) if len(asked_flaky) % 3 else Page(b"", 503)

    new.pages |= {"/m": page(peak), "/broken": page(peak, lambda: {"error_rate": 0.5} if at_peak else {})}
    old.pages |= {"/m": page(peak), "/flaky": flaky, "/green": page(lambda: {"latency_p95": 125.0})}
    # Path of the new version, and of the control group.
    cases = {
        "alone": ("/m", ""),
        "beside": ("/m", "/m"),
        "broken": ("/broken", "/m"),
        "flaky": ("/m", "/flaky"),
        "absent": ("/m", "/absent"),
        "green": ("/m", ""),
    }
    wanted = [{"name": name, "endpoint": new.url + path, "signed": True} for name, (path, _) in cases.items()]
    keys = dict(zip(cases, site.projects(wanted), strict=True))
    poller = site.start_poller()
    ids = {}
    for name, (_, control) in cases.items():
        body = {"env": "prod"} | ({"control": {"endpoint": old.url + control}} if control else {})
        answer = site.call("POST", "/deployments/trigger", keys[name], body).json()
        assert ("without signature" in (answer["message"] or "")) == bool(control)
        ids[name] = answer["deployment_id"]
    wait_until_collected(site)
    at_peak.append(True)
    for name, key in keys.items():
        body = {"deployment_id": ids[name], "result": "success"}
        body |= {"green": f"{old.url}/green"} if name == "green" else {}
        assert site.call("POST", "/deployments/finish", key, body).json()["status"] == "accepted"
    verdicts = {name: site.verdict_of(ids[name], key) for name, key in keys.items()}
    stop(poller)

    assert {name: verdict["verdict"] for name, verdict in verdicts.items()} == {
        **dict.fromkeys(("alone", "broken", "absent"), "rollback_recommended"),
        **dict.fromkeys(("beside", "flaky", "green"), "ok"),
    }
    assert "without what the control group did" in verdicts["beside"]["summary"]
    assert "errors rose" in verdicts["broken"]["summary"]
    # One instant for both, and none of the control group where it failed: it is told why.
    assert instants_of(site, ids["beside"], "control") == instants_of(site, ids["beside"], "treatment")
    assert instants_of(site, ids["flaky"], "control") < instants_of(site, ids["flaky"], "treatment")
    assert [(one["code"], "HTTP 503" in one["message"]) for one in verdicts["flaky"]["quality"]["issues"]] == [
        ("control_gaps", True)
    ]
    latencies = site.rows(LATENCIES, ids["green"])
    assert sorted(latencies) == [("post", 125.0), ("pre", 120.0)]
    # The service has a secret; the old version is named by the calls alone.
    assert all("X-SeqPulse-Signature" in one.headers for one in new.asked)
    assert not any("X-SeqPulse-Signature" in one.headers for one in old.asked)


def test_a_poller_that_is_killed_within_a_step_loses_nothing_of_it(
    site: Installation, versions: tuple[Site, Site]
) -> None:
    new, old = versions
    new.pages["/slow"] = lambda asked: replace(page()(asked), pause_s=0.2)
    old.pages["/slow"] = new.pages["/slow"]
    [key] = site.projects([{"name": "stepwise", "endpoint": f"{new.url}/slow"}])
    killed = site.start_poller("killed", "--lease", "2")
    control = {"endpoint": f"{old.url}/slow"}
    uuid = site.call("POST", "/deployments/trigger", key, {"env": "prod", "control": control}).json()["deployment_id"]
    wait_until_collected(site)
    path = f"/deployments/{uuid}/step"
    assert site.call("POST", path, key, {"percent": 25, "seconds": 1}).json()["next"] == "wait"
    wait_for(lambda: site.rows(RUNNING_STEP), "a step's sample to be under way")
    site.kill(killed.pid)
    poller = site.start_poller("taker", "--lease", "2")
    first = site.call("POST", f"{path}?wait=60", key, {"percent": 25}).json()
    assert (first["verdict"], first["next"], first["conclusive"]) == ("ok", "continue", True)
    # Each place once, of both groups; the one that was under way was taken again.
    places = site.rows(PLACES, uuid)
    assert places == [(group, place, 1) for group in ("control", "treatment") for place in range(101, 104)]

    second = site.call("POST", path, key, {"percent": 100, "seconds": 1}).json()
    assert (second["number"], second["next"]) == (2, "wait")
    finish = {"deployment_id": uuid, "result": "success"}
    assert site.call("POST", "/deployments/finish", key, finish).json()["status"] == "accepted"
    # It began before finish, and is judged all the same.
    assert site.call("POST", f"{path}?wait=60", key, {"percent": 100}).json()["verdict"] == "ok"
    assert site.call("POST", path, key, {"percent": 50}).status_code == 409
    assert site.verdict_of(uuid, key)["verdict"] == "ok"
    stop(poller)
    assert not site.rows(DOUBLED)


def instants_of(site: Installation, deployment: str, group: str) -> set[Any]:
    return {at for at, of in site.rows(INSTANTS, deployment) if of == group}


def stop(poller: Popen[bytes]) -> None:
    poller.terminate()
    assert poller.wait(20) == 0
