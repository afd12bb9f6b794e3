"""The overview and the page of an environment in headless Chromium."""

import random
from datetime import timedelta
from math import sin

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from analysis.models import DeploymentVerdict
from dashboard.tests import scenes
from dashboard.tests.browsing import PATIENCE_MS, look, sign_in, submit
from deployments.models import Deployment, State
from metrics.models import Phase
from metrics.payload import Metrics
from metrics.storing import Sample, store
from projects.baselines import exclude_window
from projects.models import Environment
from projects.services import set_policy
from tests.factories import (
    HEALTHY,
    make_deployment,
    make_environment,
    make_hint,
    make_project,
    make_sample,
    make_verdict,
)

pytestmark = pytest.mark.django_db(transaction=True)

OVERVIEW = "/dashboard/"


def judged_at(environment: Environment, hours_ago: float, verdict: str = "ok", **kwargs: object) -> Deployment:
    """A deployment with this verdict, five minutes after a finish so many hours ago."""
    finished = timezone.now() - timedelta(hours=hours_ago)
    values = {**scenes.FACTS, "committed_at": finished - timedelta(hours=5), **kwargs}
    made = make_deployment(
        environment=environment,
        state=State.FINISHED,
        started_at=finished - timedelta(minutes=2),
        finished_at=finished,
        **values,
    )
    make_verdict(made, verdict=verdict)
    DeploymentVerdict.objects.filter(deployment=made).update(created_at=finished + timedelta(minutes=5))
    return made


def busy(shop: Environment) -> None:
    """A month of a team with four projects, one of which has just been broken."""
    chance = random.Random(4)
    team = shop.project.team
    staging = make_environment(project=shop.project, name="staging")
    search = make_environment(project=make_project(team=team, name="search-indexer"), name="production-eu-west")
    mail = make_environment(project=make_project(team=team, name="mail"), name="prod")
    make_environment(project=make_project(team=team, name="reports"), name="prod")
    make_project(team=team, name="billing")
    for hours in range(12, 700, 9):
        for environment, share in ((shop, 0.5), (staging, 0.9), (search, 0.2), (mail, 0.1)):
            if chance.random() < share:
                verdict = chance.choices(["ok", "warning", "rollback_recommended"], [20, 3, 1])[0]
                judged_at(environment, hours + chance.random(), verdict)
    judged_at(mail, 3, "warning", branch="renovate/" + "very-long-dependency-name-" * 4, version="")
    judged_at(staging, 1)
    broken = scenes.judged(shop, minutes_ago=40, **scenes.BROKEN)
    make_hint(broken, severity="critical", title="Error rate at 11 %, its limit is 1 %", code="high_error_rate")


def test_the_overview_leads_from_the_first_steps_to_a_verdict(site, live_server, user):
    sign_in(site, live_server, OVERVIEW)
    look(site, "overview-no-project", heading="No project yet")
    environment = scenes.environment_of(user, metrics_endpoint="https://shop.example.com/ds-metrics")
    deployment = make_deployment(environment=environment)
    make_sample(deployment, phase=Phase.PRE)
    site.reload()
    expect(site.get_by_role("heading", name="Waiting for the first verdict")).to_be_visible()
    expect(site.locator("[aria-current=step]")).to_contain_text("And finish after it")
    look(site, "overview-first-steps")
    make_verdict(deployment)
    expect(site.get_by_role("heading", name="All latest verdicts are OK")).to_be_visible(timeout=3 * PATIENCE_MS)


def test_a_busy_overview_shows_trouble_first_and_keeps_up(site, live_server, user):
    busy(scenes.environment_of(user))
    watched = scenes.half_observed(Environment.objects.get(name="production-eu-west"))
    sign_in(site, live_server, OVERVIEW)
    expect(site.get_by_role("heading", name="Rollback recommended in 1 environment of 5")).to_be_visible()
    expect(site.get_by_role("row").nth(1)).to_contain_text("shop")
    look(site, "overview-busy")
    site.evaluate("window.notReloaded = true")
    make_sample(watched, sequence_index=4)
    expect(site.get_by_text("3 of 5 samples")).to_be_visible()
    make_verdict(watched, verdict="warning")
    expect(site.get_by_role("heading", name="In progress now")).to_be_hidden()
    assert site.evaluate("window.notReloaded") is True
    site.get_by_text("How it is counted").first.click()
    site.get_by_role("link", name="7 days").click()
    site.get_by_label("Project", exact=True).select_option(label="search-indexer")
    submit(site, "Show", heading="Delivery · search-indexer")
    expect(site.get_by_text("finished in the last 7 days")).to_be_visible()


def plant_samples(environment: Environment) -> None:
    """30 days at the level of a service with days and nights, an outage, a gap and the free plan's intervals."""
    chance = random.Random(7)
    now = timezone.now()
    rows = []
    for minutes in [*range(1, 120), *range(120, 30 * 1440, 10)]:
        if 20 <= minutes < 32 or 9000 < minutes < 11000:
            continue
        day = 1 + 0.35 * sin(minutes / 1440 * 6.28) + 0.12 * chance.random()
        values = {name: value * day for name, value in HEALTHY.items()}
        values["memory_usage"] = 0.5 + 0.05 * chance.random()
        if 3000 < minutes < 3060 or minutes == 70:
            values |= {"latency_p95": 900.0, "error_rate": 0.08}
        at = now - timedelta(minutes=minutes)
        rows.append(Sample(environment.pk, Metrics(**values), at))
    store(rows)


def test_an_environment_shows_its_metrics_over_time_with_deployments(site, live_server, user):
    environment = scenes.environment_of(user, metrics_endpoint="https://shop.example.com/ds-metrics")
    set_policy(environment, {"limits": {"latency_p95": 400, "cpu_usage": 0.9}}, source="dashboard")
    plant_samples(environment)
    for hours in range(6, 700, 11):
        judged_at(environment, hours, "rollback_recommended" if hours in (50, 402) else "ok")
    last = judged_at(environment, 0.5)
    make_deployment(environment=environment, started_at=timezone.now() - timedelta(minutes=3))
    now = timezone.now()
    exclude_window(environment, now - timedelta(minutes=52), now - timedelta(minutes=40), reason="load test")
    sign_in(site, live_server, OVERVIEW)
    site.get_by_role("link", name="shop prod", exact=True).click()
    expect(site.get_by_role("img", name="over time")).to_have_count(5)
    for name, tab in (("1h", "1 hour"), ("30d", "30 days")):
        site.get_by_role("link", name=tab, exact=True).click()
        expect(site.get_by_role("link", name=tab, exact=True)).to_have_attribute("aria-current", "true")
        look(site, f"environment-{name}")
    site.get_by_text("The same as a table").click()
    expect(site.get_by_role("columnheader", name="Error rate")).to_be_visible()
    site.get_by_role("link", name="1 hour", exact=True).click()
    site.get_by_role("link", name=f"#{last.number}: OK").focus()
    site.keyboard.press("Enter")
    expect(site.locator("#verdict-title")).to_have_text("OK")
    site.get_by_role("main").get_by_role("link", name="prod", exact=True).first.click()
    expect(site.get_by_role("heading", name="shop prod")).to_be_visible()
