"""The pages, above all that of a deployment, in headless Chromium."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Role, User
from analysis.services import give_feedback
from dashboard.tests import scenes
from dashboard.tests.browsing import PATIENCE_MS, PHONE, SCREENSHOTS, barriers, look, sign_in, submit, unfold
from dashboard.tests.pages import address, moment, page_of, project_page_of
from deployments.models import Deployment, State
from metrics.models import Phase
from projects.services import set_policy
from scheduler.models import JobStatus
from tests.factories import PASSWORD, judge_now, make_deployment, make_sample, make_verdict

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_user_signs_in_and_out(site, live_server):
    site.goto(f"{live_server.url}/")
    expect(site).to_have_url(re.compile(r"/accounts/login/\?next="))
    look(site, "login")
    device = site.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
    assert {one["name"]: one["value"] for one in site.context.cookies()}["device_zone"] == device
    submit(site, "Sign in", {"User name": "ada", "Password": PASSWORD})
    expect(site).to_have_url(f"{live_server.url}/dashboard/")
    site.goto(f"{live_server.url}/dashboard/deployments/")
    look(site, "list-empty-no-project")
    site.locator(".top-user summary").click()
    site.get_by_role("button", name="Sign out").click()
    expect(site.get_by_role("button", name="Sign in", exact=True)).to_be_visible()


def test_a_wrong_password_is_refused(site, live_server):
    site.goto(f"{live_server.url}/accounts/login/")
    submit(site, "Sign in", {"User name": "ada", "Password": "wrong"})
    expect(site.get_by_role("alert")).to_contain_text("not correct")
    look(site, "login-refused")


def test_a_project_without_deployments_shows_the_next_step(site, live_server, user):
    scenes.environment_of(user)
    sign_in(site, live_server)
    look(site, "list-empty", text="deployments/trigger")


def test_the_list_shows_every_state_and_leads_to_the_deployment(site, live_server, user):
    shop = scenes.environment_of(user)
    search = scenes.environment_of(user, project="search-indexer with a rather long name", name="production-eu-west")
    scenes.judged(shop)
    scenes.judged(shop, **scenes.SLOW)
    scenes.poorly_observed(search)
    rollback = scenes.judged(shop, **scenes.BROKEN)
    make_deployment(environment=search, branch="renovate/" + "very-long-dependency-name-" * 9, author="renovate[bot]")
    scenes.half_observed(shop)
    sign_in(site, live_server)
    expect(site.get_by_role("row")).to_have_count(7)
    look(site, "list")
    site.get_by_role("link", name=f"#{rollback.number} shop").click()
    expect(site.locator("#verdict-title")).to_contain_text("Rollback recommended")


@pytest.mark.parametrize(
    ("name", "heading", "metrics"),
    [("ok", "OK", {}), ("warning", "Warning", scenes.SLOWER), ("rollback", "Rollback recommended", scenes.BROKEN)],
)
def test_a_deployment_shows_its_verdict_first(site, live_server, user, name, heading, metrics):
    sign_in(site, live_server, address(scenes.judged(scenes.environment_of(user), **metrics)))
    title = site.locator("#verdict-title")
    expect(title).to_have_text(heading)
    assert title.bounding_box()["y"] < 250
    unfold(site)
    expect(site.get_by_role("img", name="before and after the deployment")).to_have_count(5)
    site.get_by_text("All samples as a table").click()
    expect(site.get_by_role("rowheader", name="After 5")).to_be_visible()
    look(site, f"deployment-{name}")


def test_an_unsure_verdict_shows_what_was_missed(site, live_server, user):
    sign_in(site, live_server, address(scenes.poorly_observed(scenes.environment_of(user))))
    unfold(site)
    look(site, "deployment-inconclusive", text="Not conclusive: the data do not support")


def test_a_running_deployment_waits_for_finish(site, live_server, user):
    deployment = make_deployment(environment=scenes.environment_of(user), **scenes.FACTS)
    make_sample(deployment, phase=Phase.PRE)
    sign_in(site, live_server, address(deployment))
    expect(site.locator("#verdict-title")).to_have_text("Deploying")
    look(site, "deployment-running")


def test_samples_and_the_verdict_appear_without_a_reload(site, live_server, user):
    deployment = scenes.half_observed(scenes.environment_of(user))
    site.clock.install()
    sign_in(site, live_server, address(deployment))
    look(site, "deployment-observing", text="2 of 5 samples")
    site.get_by_text("All samples as a table").click()
    site.evaluate("window.notReloaded = true")

    make_sample(deployment, sequence_index=4)
    expect(site.get_by_text("3 of 5 samples")).to_be_visible()
    expect(site.locator("details#samples")).to_have_attribute("open", "")

    make_verdict(deployment)
    expect(site.locator("#verdict-title")).to_have_text("OK")
    expect(site).to_have_title(re.compile("^OK"))
    expect(site.locator("[data-live-announcer]")).to_have_text("OK")
    assert site.evaluate("window.notReloaded") is True

    asked: list[str] = []
    site.on("request", lambda request: asked.append(request.url))
    site.clock.run_for(30_000)
    assert asked == []


def test_the_list_shows_a_new_verdict_without_a_reload(site, live_server, user):
    deployment = make_deployment(environment=scenes.environment_of(user), state=State.FINISHED)
    sign_in(site, live_server)
    expect(site.get_by_role("table").get_by_text("Under observation")).to_be_visible()
    make_verdict(deployment)
    expect(site.get_by_role("cell", name="OK", exact=True)).to_be_visible()


def test_a_lost_connection_is_shown_and_mends_itself(page, live_server, user):
    deployment = make_deployment(environment=scenes.environment_of(user), state=State.FINISHED)
    sign_in(page, live_server, address(deployment))
    page.route("**/live/", lambda route: route.abort())
    look(page, "deployment-connection-lost", text="Connection lost, retrying…")
    page.unroute("**/live/")
    make_verdict(deployment)
    expect(page.locator("#verdict-title")).to_have_text("OK", timeout=30_000)
    expect(page.get_by_text("Connection lost, retrying…")).to_be_hidden()


def test_a_page_left_open_says_when_its_session_has_ended(page, live_server, user):
    deployment = make_deployment(environment=scenes.environment_of(user), state=State.FINISHED)
    sign_in(page, live_server, address(deployment))
    page.context.clear_cookies()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    expect(page.locator("#verdict-title")).to_have_text("Under observation")


def test_the_keyboard_reaches_content_and_focus_is_visible(site, live_server, user):
    scenes.judged(scenes.environment_of(user))
    sign_in(site, live_server)
    site.reload()
    site.keyboard.press("Tab")
    skip = site.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    site.keyboard.press("Enter")
    site.keyboard.press("Tab")
    expect(site.get_by_label("Search")).to_be_focused()
    link = site.get_by_role("link", name="#1 shop")
    for _ in range(30):
        assert site.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if link.evaluate("element => element === document.activeElement"):
            return
        site.keyboard.press("Tab")
    pytest.fail("the keyboard does not reach the deployment")


def test_the_admin_works_under_the_content_security_policy(site, live_server, user):
    scenes.judged(scenes.environment_of(user), **scenes.BROKEN)
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    sign_in(site, live_server)
    site.locator("summary").filter(has_text="Your menu").click()
    # What the open menu lies on is no target until it is closed.
    look(site, "menu", exclude=("main", ".top-nav"))
    site.keyboard.press("Escape")
    expect(site.get_by_role("link", name="Admin")).to_be_hidden()
    site.keyboard.press("Enter")
    site.get_by_role("link", name="Admin").click()
    expect(site.get_by_role("heading", name="Administration", exact=True)).to_be_visible()
    look(site, "admin")
    site.get_by_role("link", name="Jobs and pollers").click()
    look(site, "admin-jobs-and-pollers", heading="Jobs by kind")
    site.get_by_role("link", name="Environments").first.click()
    site.locator("input.action-select").check()
    site.get_by_label("Action:").select_option(label="Turn signing on, or issue a new secret")
    site.get_by_role("button", name="Run").or_(site.get_by_role("button", name="Go")).click()
    look(site, "admin-shown-once", text="it cannot be shown again")


def test_an_early_verdict_keeps_its_page_up_to_date_and_a_form_as_it_was_filled_in(site, live_server, user):
    deployment = scenes.called_out_early(scenes.environment_of(user))
    sign_in(site, live_server, address(deployment))
    look(site, "deployment-early", text="The window is still open")
    site.get_by_text("Ignore…").click()
    reason = site.get_by_label("Note")
    reason.fill("The load balancer")
    next_answer(site)
    expect(reason).to_be_focused()
    site.keyboard.type(" did that.")
    scenes.end_window(deployment)
    expect(site.get_by_role("heading", name="At the end of the window", exact=True)).to_be_visible()
    expect(reason).to_have_value("The load balancer did that.")
    expect(reason).to_be_focused()
    site.get_by_role("button", name="Wrong").click()
    site.get_by_label("It should have been").select_option(label="Warning")
    site.get_by_role("button", name="Save feedback").click()
    look(site, "deployment-early-ended", text="Marked wrong, it should have been: Warning")


def test_a_verdict_is_marked_and_the_mark_is_changed(site, live_server, user):
    sign_in(site, live_server, address(scenes.with_baseline(scenes.environment_of(user), **scenes.SLOW)))
    look(site, "deployment-baseline-folded")
    unfold(site)
    look(site, "deployment-baseline")
    site.get_by_role("button", name="Right").click()
    expect(site.get_by_role("status").filter(has_text="Your feedback is saved")).to_be_visible()
    site.get_by_text("Change feedback").click()
    expect(site.get_by_label("It should have been")).to_be_hidden()
    site.get_by_role("radio", name="Wrong").check()
    site.get_by_label("It should have been").select_option(label="OK")
    site.get_by_role("button", name="Save feedback").click()
    look(site, "deployment-marked", text="Marked wrong, it should have been: OK")


def test_earlier_deployments_that_helped_out_are_drawn(site, live_server, user):
    sign_in(site, live_server, address(scenes.with_history(scenes.environment_of(user), **scenes.BROKEN)))
    unfold(site)
    look(site, "deployment-history", text="earlier good deployments")


def test_an_owner_tries_a_policy_and_saves_it(site, live_server, user):
    columns = {"metrics_endpoint": "https://shop.example.com/ds-metrics"}
    environment = scenes.environment_of(user, role=Role.OWNER, **columns)
    for minutes_ago, metrics in ((90, {}), (60, scenes.SLOW), (30, scenes.BROKEN)):
        deployment = scenes.judged(environment, minutes_ago=minutes_ago, **metrics)
        give_feedback(deployment.verdict, right=metrics is not scenes.SLOW, by=user, should_have_been="ok")
    sign_in(site, live_server, project_page_of(environment))
    expect(site.get_by_text("2 right of 3 marked").first).to_be_visible()
    look(site, "project")
    site.get_by_role("link", name="Policy prod").click()
    expect(site.get_by_label("Traffic: tolerated share of such samples")).to_be_hidden()
    look(site, "policy")
    site.get_by_role("textbox", name="p95 latency: at most", exact=True).fill("500")
    site.get_by_role("textbox", name="CPU usage: at most", exact=True).fill("90")
    site.get_by_label("Sensitivity").select_option(label="Low: only large effects count")
    site.get_by_role("button", name="Replay with these settings").click()
    expect(site.get_by_text("1 of 3 verdicts would change.")).to_be_in_viewport()
    look(site, "policy-replay")
    site.get_by_role("button", name="Save").click()
    expect(site.get_by_role("status").filter(has_text="The policy is saved.")).to_be_visible()
    expect(site.locator("#toml")).to_contain_text("latency_p95 = 500")
    submit(site, "Take this time out", {"From (UTC)": moment(hours=1), "To (UTC)": moment(hours=2)})
    look(site, "policy-saved", text="The window has to end after it starts.")


def test_the_fixed_policy_has_fields_of_its_own_and_errors_stand_at_them(site, live_server, user):
    sign_in(site, live_server, page_of(scenes.environment_of(user, role=Role.OWNER)))
    site.get_by_label("Fixed: the same limits").check()
    expect(site.get_by_label("Sensitivity")).to_be_hidden()
    submit(site, "Save", {"p95 latency: limit": "0", "Error rate: limit": "many"})
    expect(site.get_by_role("alert")).to_contain_text("Nothing was saved")
    look(site, "policy-fixed", text="Must be a number greater than 0.")


def test_a_viewer_looks_at_a_policy(site, live_server, user):
    environment = scenes.environment_of(user, role=Role.VIEWER)
    set_policy(environment, {"sensitivity": "high", "limits": {"latency_p95": 800}}, source="file")
    sign_in(site, live_server, page_of(environment))
    expect(site.get_by_label("Sensitivity")).to_be_disabled()
    look(site, "policy-viewer")


def test_barriers_are_found_under_the_content_security_policy(site, live_server):
    sign_in(site, live_server)
    assert barriers(site) == []
    site.locator("h1").evaluate("element => element.style.color = 'silver'")
    site.locator("html").evaluate("element => element.removeAttribute('lang')")
    contrast, language = barriers(site)
    assert contrast.startswith("color-contrast at h1: ")
    assert language.startswith("html-has-lang at html: ")
    assert barriers(site, only=["color-contrast"]) == [contrast]
    assert barriers(site, exclude=["h1"]) == [language]


def test_an_unknown_address_has_a_page(page, live_server, user):
    page.goto(f"{live_server.url}/nowhere/")
    look(page, "not-found", heading="Not found")


# --- the page of a deployment ---


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
    unfold(site)
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
    site.screenshot(path=SCREENSHOTS / "deployment-first-screen-phone.jpg")
    for part in ("#verdict-title", "#finding", ".lead-chart svg[role=img]"):
        box = site.locator(part).bounding_box()
        assert box["y"] + box["height"] <= PHONE["height"], part


def test_what_was_unfolded_stays_so_on_other_pages(site, live_server, user):
    environment = scenes.environment_of(user)
    first, second = (scenes.judged(environment, minutes_ago=ago, **scenes.BROKEN) for ago in (30, 6))
    sign_in(site, live_server, address(first))
    expect(site.locator("#checks-title")).to_be_visible()
    expect(site.get_by_role("columnheader", name="Samples beyond")).to_be_hidden()
    site.locator("#checks-title").click()
    expect(site.get_by_role("columnheader", name="Samples beyond")).to_be_visible()
    site.goto(live_server.url + address(second))
    expect(site.get_by_role("columnheader", name="Samples beyond")).to_be_visible()
    site.locator("#checks-title").click()
    # An address leads into what is folded.
    site.goto(f"{live_server.url}{address(second)}#final-checks-title")
    site.goto(f"{live_server.url}{address(second)}#timeline-title")
    expect(site.locator("#timeline-title")).to_be_in_viewport()
    expect(site.get_by_role("columnheader", name="Samples beyond")).to_be_hidden()


def test_a_hidden_tab_asks_nothing_and_a_seen_one_at_once(site, live_server, user):
    site.clock.install()
    sign_in(site, live_server, address(scenes.half_observed(scenes.environment_of(user))))
    next_answer(site)
    asked: list[str] = []
    site.on("request", lambda request: asked.append(request.url))
    hide = "value => { Object.defineProperty(document, 'hidden', {configurable: true, value});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    site.evaluate(hide, True)
    expect(site.locator("[data-live-state]")).to_have_text(re.compile("Paused"))
    asked.clear()
    site.clock.run_for(30_000)
    assert asked == []
    site.clock.resume()
    # At once is within the same event, however long the request then takes to leave.
    asks = "value => { let asks = false; const note = event => { asks = !event.defaultPrevented; };"
    asks += f" document.addEventListener('htmx:beforeRequest', note, {{once: true}}); ({hide})(value); return asks; }}"
    with site.expect_request("**/live/"):
        assert site.evaluate(asks, False) is True
    expect(site.locator("[data-live-state]")).to_have_text(re.compile("Live"))


def test_a_user_compares_replays_and_runs_the_analysis_again(site, live_server, user):
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
    look(site, "deployment-replay", text="The verdict would change.")

    set_policy(environment, {"limits": {"latency_p95": 5000, "cpu_usage": 0.9}}, source="dashboard")
    site.goto(live_server.url + address(deployment))
    site.get_by_role("link", name="Rerun analysis").click()
    look(site, "deployment-rerun", heading="What the analysis says now")
    site.get_by_role("button", name="Store this as the verdict").click()
    expect(site.locator("#verdict-title")).to_have_text("OK")
    expect(site.locator("[data-event=rerun]")).to_contain_text("Analysis run again by ada: OK")
    assert icon(site) == "ok"
    look(site, "deployment-revised")
    site.get_by_role("link", name=f"Previous: #{before.number}").click()
    expect(site.get_by_role("link", name=f"Next: #{deployment.number}")).to_be_visible()


def test_the_documentation_of_the_api_is_dark_where_the_device_is(site, live_server):
    site.emulate_media(color_scheme="dark")
    site.goto(f"{live_server.url}/api/docs")
    expect(site.get_by_text("/deployments/trigger").first).to_be_visible(timeout=PATIENCE_MS)
    expect(site.locator("body")).to_have_css("background-color", "rgb(28, 32, 34)")
    site.screenshot(path=SCREENSHOTS / "api-docs-dark.png")
    site.emulate_media(color_scheme="light")
    expect(site.locator("body")).to_have_css("background-color", "rgb(250, 250, 250)")
    # What opens comes from us, too, and within the policy: `site` fails for anything in the console.
    site.locator(".opblock-summary-control").first.click()
    site.get_by_role("button", name="Try it out").click()
    expect(site.get_by_role("button", name="Execute")).to_be_visible(timeout=PATIENCE_MS)
    loaded = site.evaluate(
        "performance.getEntriesByType('resource').map(entry => new URL(entry.name, document.baseURI).origin)"
    )
    assert set(loaded) == {live_server.url}
