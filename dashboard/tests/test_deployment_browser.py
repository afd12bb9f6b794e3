"""The page of a deployment in headless Chromium: live, its timeline, and everything that people do there."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from analysis.tests.factories import judge_now
from dashboard.tests import scenes
from dashboard.tests.browsing import PATIENCE_MS, PHONE, SCREENSHOTS, look, sign_in
from dashboard.tests.pages import address
from deployments.models import Deployment
from metrics.tests.factories import make_sample
from projects.services import set_policy
from scheduler.models import JobStatus

pytestmark = pytest.mark.django_db(transaction=True)

# What moved on the screen without anybody having touched anything (CLS), from now on.
WATCH_SHIFTS = """() => {
    window.shifted = 0;
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
    }).observe({type: "layout-shift", buffered: false});
}"""
PLACES = """() => [...document.querySelectorAll("#live h2, #live summary, .live-state, h1")].map(
    one => [one.textContent.trim().replace(/^Live.*/, "Live"), Math.round(one.getBoundingClientRect().top)])"""


def icon(page: Page) -> str:
    """The name of the tab's icon."""
    found = re.search(r"/icons/([a-z]+)\.", page.locator("link[rel=icon]").get_attribute("href") or "")
    return found.group(1) if found else ""


def next_answer(page: Page) -> None:
    """Wait until the page has polled again and received the answer."""
    with page.expect_response("**/live/", timeout=PATIENCE_MS):
        pass


def retried(deployment: Deployment) -> None:
    """Sample 4 comes in at its second try."""
    job = deployment.jobs.get(sequence_index=4)
    failed = {"event": "put off", "code": "timeout", "error": "no answer within 5 s", "poller": "p1"}
    job.history = [{**failed, "at": (job.scheduled_at + timedelta(seconds=5)).isoformat()}]
    job.started_at = job.scheduled_at + timedelta(seconds=35)
    job.finished_at = job.started_at + timedelta(seconds=0.4)
    job.status, job.last_error = JobStatus.COMPLETED, ""
    job.save()
    make_sample(deployment, sequence_index=4, collected_at=job.finished_at, error_rate=0.11)


def test_what_comes_in_moves_nothing_and_the_tab_tells_the_verdict(site, live_server, user):
    environment = scenes.environment_of(user)
    scenes.judged(environment, minutes_ago=60)
    deployment = scenes.half_observed(environment)
    sign_in(site, live_server, address(deployment))
    state = site.locator("[data-live-state]")
    expect(state).to_have_attribute("data-live-state", "live")
    expect(state).to_have_text(re.compile(r"^\s*Live · updated \d+ s ago\s*$"))
    assert icon(site) == "observing"
    # Nothing new: the element stays the same one, whatever ticks in it.
    site.evaluate("document.querySelector('#live').same = true")
    next_answer(site)
    assert site.evaluate("document.querySelector('#live').same") is True

    site.evaluate(WATCH_SHIFTS)
    places = site.evaluate(PLACES)
    retried(deployment)
    expect(site.get_by_text("3 of 5 samples")).to_be_visible()
    assert site.evaluate(PLACES) == places
    expect(site.locator("[data-event=retry]")).to_contain_text("no answer within 5 s")

    # The scroll position is kept when verdict and hints arrive above.
    heading = site.locator("#timeline-title")
    heading.scroll_into_view_if_needed()
    reads = heading.bounding_box()["y"]
    lost = {"status": JobStatus.FAILED, "error_code": "refused", "finished_at": timezone.now()}
    deployment.jobs.filter(sequence_index=5).update(**lost)
    judge_now(deployment)
    expect(site).to_have_title(re.compile("^(Warning|Rollback)"))
    expect(state).to_have_attribute("data-live-state", "final")
    assert abs(heading.bounding_box()["y"] - reads) < 2
    assert site.evaluate("window.shifted") < 0.01
    expect(site.locator("[data-event=verdict]")).to_be_visible()
    verdict = Deployment.objects.get(pk=deployment.pk).verdict
    assert icon(site) == {"warning": "warning", "rollback_recommended": "rollback"}[verdict.verdict]
    drawn = site.evaluate("async () => (await fetch(document.querySelector('link[rel=icon]').href)).status")
    assert drawn == 200
    look(site, "deployment-story")


def test_a_phone_shows_verdict_and_reason_on_its_first_screen(site, live_server, user):
    deployment = scenes.with_baseline(scenes.environment_of(user), **scenes.BROKEN)
    site.set_viewport_size(PHONE)
    sign_in(site, live_server, address(deployment))
    site.screenshot(path=SCREENSHOTS / "deployment-first-screen-phone.png")
    for part in ("#verdict-title", ".verdict-summary"):
        box = site.locator(part).bounding_box()
        assert box["y"] + box["height"] <= PHONE["height"], part
    confidence = site.get_by_text("Confidence: high").bounding_box()
    assert confidence["y"] <= PHONE["height"]


def test_a_hidden_tab_asks_nothing_and_a_seen_one_at_once(site, live_server, user):
    sign_in(site, live_server, address(scenes.half_observed(scenes.environment_of(user))))
    next_answer(site)
    asked: list[str] = []
    site.on("request", lambda request: asked.append(request.url))
    hide = "value => { Object.defineProperty(document, 'hidden', {configurable: true, value});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    site.evaluate(hide, True)
    expect(site.locator("[data-live-state]")).to_have_text(re.compile("Paused"))
    asked.clear()
    site.wait_for_timeout(2500)
    assert asked == []
    # At once is within the same event, however long the request then takes to leave.
    asks = "value => { let asks = false; const note = event => { asks = !event.defaultPrevented; };"
    asks += f" document.addEventListener('htmx:beforeRequest', note, {{once: true}}); ({hide})(value); return asks; }}"
    with site.expect_request("**/live/"):
        assert site.evaluate(asks, False) is True
    expect(site.locator("[data-live-state]")).to_have_text(re.compile("Live"))


def test_a_person_compares_replays_and_runs_the_analysis_again(site, live_server, user):
    environment = scenes.environment_of(user)
    scenes.judged(environment, minutes_ago=120, **scenes.SLOWER)
    before = scenes.with_baseline(environment, minutes_ago=60)
    deployment = scenes.with_baseline(environment, **scenes.SLOW)
    sign_in(site, live_server, address(deployment))
    with site.expect_download() as download:
        site.get_by_role("link", name="Download JSON").click()
    assert download.value.suggested_filename == f"deployment-{deployment.number}-{deployment.uuid}.json"

    site.get_by_role("link", name="Compare").click()
    expect(site.get_by_role("img", name="after both deployments")).to_have_count(5)
    expect(site.get_by_role("link", name=f"#{before.number}", exact=True)).to_be_visible()
    look(site, "deployment-compare")
    site.get_by_label("With", exact=True).select_option(index=1)
    site.get_by_role("button", name="Compare").click()
    expect(site).to_have_url(re.compile(r"\?with="))
    site.get_by_role("link", name=f"#{deployment.number}", exact=True).click()

    site.get_by_role("link", name="Replay").click()
    site.get_by_role("textbox", name="p95 latency: at most", exact=True).fill("5000")
    site.get_by_role("textbox", name="CPU usage: at most", exact=True).fill("90")
    site.get_by_role("button", name="Replay with this policy").click()
    expect(site.get_by_text("The verdict would change.")).to_be_visible()
    look(site, "deployment-replay")

    set_policy(environment, {"limits": {"latency_p95": 5000, "cpu_usage": 0.9}}, source="dashboard")
    site.goto(live_server.url + address(deployment))
    site.get_by_role("link", name="Rerun analysis").click()
    expect(site.get_by_role("heading", name="What the analysis says now")).to_be_visible()
    look(site, "deployment-rerun")
    site.get_by_role("button", name="Store this as the verdict").click()
    expect(site.locator("#verdict-title")).to_have_text("OK")
    expect(site.locator("[data-event=rerun]")).to_contain_text("Analysis run again by ada: OK")
    assert icon(site) == "ok"
    look(site, "deployment-revised")
    site.get_by_role("link", name=f"Previous: #{before.number}").click()
    expect(site.get_by_role("link", name=f"Next: #{deployment.number}")).to_be_visible()
