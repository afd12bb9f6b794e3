"""Custom metrics, metrics that are not measured, and numbers of instances on pages, in exports and in the API."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from analysis.replay import replay
from analysis.tests.factories import judge_now
from dashboard.tests.pages import address, elements, form_with, shows, words
from deployments.models import State
from deployments.tests.pipeline import Pipeline
from metrics.models import MetricSample, Phase
from projects.policy import policy_from_dict
from projects.services import issue_api_key, set_policy
from tests.factories import make_deployment, make_sample

pytestmark = pytest.mark.django_db

LONGEST = "a" * 63
CUSTOM: list[dict[str, Any]] = [
    {"name": "checkouts_per_minute", "kind": "rate", "unit": "/min", "critical": True},
    {"name": "cache_hits", "kind": "ratio", "direction": "down_is_bad"},
    {"name": LONGEST, "critical": True},
]


@pytest.fixture
def deployment(environment):
    """A worker whose checkouts stopped while it was scaled from 4 to 6 instances."""
    set_policy(environment, {"custom_metrics": CUSTOM}, source="file")
    started = timezone.now() - timedelta(minutes=7)
    deployment = make_deployment(environment=environment, state=State.FINISHED, started_at=started)

    def sample(at: datetime, phase: Phase, **values: Any) -> None:
        own = None if phase == Phase.BASELINE else deployment
        custom = {
            "checkouts_per_minute": 42.0,
            "cache_hits": 0.9,
            LONGEST: 10.0,
            "unheard_of": 1.0,
            **values.pop("custom", {}),
        }
        MetricSample.objects.create(
            environment=environment, deployment=own, phase=phase, collected_at=at, custom_metrics=custom, **values
        )

    for minute in range(1, 20):
        sample(started - timedelta(minutes=minute), Phase.BASELINE, instances=4)
    for index in range(1, 6):
        at = started + timedelta(minutes=1 + index)
        bad = {"checkouts_per_minute": 3.0, LONGEST: 90.0}
        sample(at, Phase.POST, sequence_index=index, instances=6, cpu_usage=0.5, custom=bad)
    return judge_now(deployment)


def test_the_page_shows_charts_checks_hints_and_samples_of_custom_metrics(browser_of, deployment):
    page = browser_of.get(address(deployment))
    shows(
        page,
        "checkouts per minute fell from 42 /min to 3 /min",
        "cache hits: 90 %, before 90 %",
        "4 → 6 instances",
        "Not measured before and after: Traffic, p95 latency, Error rate, CPU usage, Memory usage",
        without=["unheard"],
    )
    charts = [words(page, f"#chart-{name}-title") for name in ("checkouts_per_minute", "cache_hits")]
    assert charts[0] == "checkouts per minute before and after the deployment"
    assert "42 /min" in words(page, "#chart-checkouts_per_minute-desc")
    assert "90 %" in words(page, "#chart-cache_hits-desc")
    assert not elements(page, "#chart-memory_usage-title")
    rows = elements(page, "#samples tbody tr")
    assert {len(row.cssselect("td, th")) for row in rows} == {12}
    assert len(elements(page, "#samples thead th")) == 12
    assert "3 /min" in words(page, "#samples")


def test_the_page_of_the_environment_shows_them_over_time(browser_of, environment, deployment):
    page = browser_of.get(f"/dashboard/environments/{environment.pk}/?range=1h")
    assert [one.get("id") for one in elements(page, "figure.timeline figcaption")] == [
        f"timeline-{name}" for name in ("cpu_usage", "checkouts_per_minute", "cache_hits", LONGEST)
    ]
    shows(page, "42 /min", "90 %")


def test_export_list_and_comparison_have_them(browser_of, environment, deployment):
    exported = browser_of.get(f"{address(deployment)}download.json").json()
    sample = exported["judged_on"]["samples"][-1]
    assert (sample["custom"]["checkouts_per_minute"], sample["instances"], sample["memory_usage"]) == (3.0, 6, None)
    shows(browser_of.get("/dashboard/hints/"), "checkouts per minute fell from 42 /min to 3 /min")
    other = make_deployment(environment=environment, state=State.FINISHED)
    make_sample(other, custom_metrics={"checkouts_per_minute": 40.0})
    compared = browser_of.get(f"{address(deployment)}compare/?with={other.uuid}")
    shows(compared, "checkouts per minute", "42 /min → 3 /min −93 %", "40 /min")


def test_a_rerun_and_a_replay_say_the_same_of_custom_metrics(browser_of, environment, deployment):
    shows(browser_of.get(f"{address(deployment)}rerun/"), "checkouts per minute")
    form = form_with('[name="custom_metrics"]', browser_of.get(f"{address(deployment)}replay/"))
    milder = form["custom_metrics"].replace("critical = true", "critical = false")
    replayed = browser_of.post(f"{address(deployment)}replay/", {**form, "custom_metrics": milder})
    shows(replayed, "checkouts per minute fell from 42 /min to 3 /min", "Warning")
    [one] = replay([deployment])
    assert (one.verdict, one.complete, one.changed) == ("rollback_recommended", True, False)
    [without] = replay([deployment], policy_from_dict({}))
    assert (without.verdict, without.changed) == ("warning", True)


def test_the_api_has_samples_checks_and_hints(environment, deployment):
    pipeline = Pipeline(issue_api_key(environment.project))
    [*_, last] = pipeline.get(f"/deployments/{deployment.uuid}/metrics").json()["samples"]
    assert (last["custom"]["cache_hits"], last["instances"], last["latency_p95"]) == (0.9, 6, None)
    verdict = pipeline.verdict(deployment.uuid).json()
    failed = [one["metric"] for one in verdict["failed_metrics"]]
    assert (verdict["verdict"], failed) == ("rollback_recommended", ["checkouts_per_minute", LONGEST])
    [check] = [one for one in verdict["checks"] if one["metric"] == "checkouts_per_minute"]
    assert (check["outcome"], check["details"]["unit"], check["observed"]) == ("critical", "/min", 3.0)
    assert verdict["basis"]["instances"] == 6
    assert {hint["metric"] for hint in verdict["hints"]} >= {"checkouts_per_minute", LONGEST}
