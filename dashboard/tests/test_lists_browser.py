"""The lists of deployments and of hints in headless Chromium, and exchanges that fail."""

import csv
import re

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Page, expect

from analysis.models import Severity
from dashboard.tests import scenes
from dashboard.tests.browsing import look, sign_in
from dashboard.tests.pages import LIST
from deployments.models import State
from tests.factories import make_deployment, make_hint, make_verdict

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_user_searches_filters_orders_pages_and_downloads(site, live_server, user):
    shop = scenes.environment_of(user)
    search = scenes.environment_of(user, project="search-indexer", name="production-eu-west")
    for number in range(30):
        make_verdict(make_deployment(environment=shop, state=State.FINISHED, author=f"Grace {number % 3}"))
    scenes.judged(search, **scenes.BROKEN)
    warned = scenes.poorly_observed(search)
    observed = scenes.half_observed(shop)
    sign_in(site, live_server)
    expect(site.get_by_role("status").filter(has_text="33 deployments")).to_be_visible()
    look(site, "deployments")

    # Typing is enough; the page is not loaded anew, and the address says what is shown.
    site.evaluate("window.notReloaded = true")
    site.get_by_label("Search", exact=True).press_sequentially("4f2a9c1", delay=10)
    expect(site.get_by_role("status").filter(has_text=re.compile(r"^\s*3 deployments"))).to_be_visible()
    expect(site).to_have_url(re.compile(r"\?q=4f2a9c1$"))
    expect(site.get_by_label("Search", exact=True)).to_be_focused()
    site.get_by_label("Project", exact=True).select_option(label="search-indexer")
    expect(site.get_by_role("row")).to_have_count(3)
    site.get_by_label("Verdict", exact=True).select_option(label="Warning")
    site.get_by_text("More filters").click()
    site.get_by_label("Branch, in full", exact=True).fill(warned.branch)
    site.get_by_label("Branch, in full", exact=True).press("Enter")
    expect(site.get_by_role("list", name="What is filtered").get_by_role("listitem")).to_have_count(4)
    look(site, "deployments-filtered")

    with site.expect_download() as download:
        site.get_by_role("link", name="CSV").click()
    rows = csv.DictReader(download.value.path().open(encoding="utf-8-sig"))
    assert [row["deployment_id"] for row in rows] == [str(warned.uuid)]

    by_keyboard(site)
    assert site.evaluate("window.notReloaded") is True
    site.go_back()
    expect(site.get_by_role("link", name="First page")).to_be_hidden()
    expect(site.get_by_role("columnheader", name="Took")).to_have_attribute("aria-sort", "descending")

    # What is observed goes on being so in a list that htmx has brought.
    site.goto(live_server.url + LIST)
    site.get_by_label("Project", exact=True).select_option(label="shop")
    expect(site.get_by_text("2 of 5 samples")).to_be_visible()
    make_verdict(observed)
    expect(site.get_by_text("2 of 5 samples")).to_be_hidden()
    site.get_by_label("Search", exact=True).fill("no-such-thing")
    look(site, "deployments-none", heading="No deployment matches")
    site.get_by_role("link", name="Clear the filters").click()
    expect(site.get_by_role("status").filter(has_text="33 deployments")).to_be_visible()


def by_keyboard(site: Page) -> None:
    """A chip, a heading, the next page."""
    chips = site.get_by_role("list", name="What is filtered")
    site.get_by_role("link", name="Clear Search: 4f2a9c1").focus()
    site.keyboard.press("Enter")
    expect(chips.get_by_role("listitem")).to_have_count(3)
    expect(site.get_by_label("Search", exact=True)).to_have_value("")
    site.get_by_role("link", name="Clear all").click()
    expect(chips).to_be_hidden()
    site.get_by_role("link", name="Took").focus()
    site.keyboard.press("Enter")
    expect(site.get_by_role("columnheader", name="Took")).to_have_attribute("aria-sort", "descending")
    expect(site.get_by_role("link", name="Took")).to_be_focused()
    site.get_by_role("link", name="Next").click()
    expect(site.get_by_role("link", name="First page")).to_be_visible()
    expect(site.get_by_role("row")).to_have_count(9)


def test_a_user_looks_for_what_went_wrong_across_projects(site, live_server, user):
    shop = scenes.environment_of(user)
    search = scenes.environment_of(user, project="search-indexer with a rather long name", name="production-eu-west")
    broken = scenes.judged(shop, **scenes.BROKEN)
    scenes.judged(shop, **scenes.SLOW)
    scenes.poorly_observed(search)
    for number in range(30):
        make_hint(broken, code="cpu_spike", metric="cpu_usage", observed=0.93, threshold=0.8, severity=Severity.INFO)
        if number % 3 == 0:
            make_hint(broken, code="memory_growth", metric="memory_usage", severity=Severity.CRITICAL, observed=None)
    sign_in(site, live_server, "/dashboard/hints/")
    expect(site.get_by_role("heading", name="By code and day")).to_be_visible()
    site.get_by_text("By code and day as a table").click()
    expect(site.get_by_role("columnheader", name="cpu_spike")).to_be_visible()
    look(site, "hints")
    site.get_by_role("link", name="Older").click()
    expect(site.get_by_role("link", name="Newer")).to_be_visible()
    site.get_by_label("Severity", exact=True).select_option(label="Critical")
    site.get_by_label("Code", exact=True).select_option(label="memory_growth")
    expect(site.get_by_role("status").filter(has_text="10 hints")).to_be_visible()
    expect(site.get_by_role("row")).to_have_count(11)
    look(site, "hints-filtered")
    site.get_by_role("link", name=f"#{broken.number} shop").first.click()
    expect(site.locator("#verdict-title")).to_have_text("Rollback recommended")


# --- exchanges that fail ---


def test_who_filters_after_the_session_has_ended_signs_in_and_comes_back_to_what_was_asked(site, live_server, user):
    make_verdict(make_deployment(environment=scenes.environment_of(user), state=State.ANALYZED))
    sign_in(site, live_server)
    expect(site.get_by_role("row")).to_have_count(2)
    Session.objects.all().delete()
    site.get_by_label("Verdict", exact=True).select_option(label="Warning")
    expect(site.locator("input[name=password]")).to_be_visible()
    expect(site).to_have_url(re.compile(r"/accounts/login/\?next=.*verdict%3Dwarning"))
    sign_in(site, live_server, f"{LIST}?verdict=warning")
    expect(site.get_by_role("heading", name="No deployment matches")).to_be_visible()
