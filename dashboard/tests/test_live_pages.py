"""Pages behind the front of the web server: what they ask for while a stream of events is open, and while it is not."""

import re
from collections.abc import Iterator

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from playwright.sync_api import Page, expect

from dashboard.tests import scenes
from dashboard.tests.browsing import sign_in
from dashboard.tests.pages import address, has
from tests.factories import make_sample, make_verdict
from tests.held import Server, streaming

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server() -> Iterator[Server]:
    with streaming(StaticFilesHandler) as running:
        yield running


def noted(page: Page) -> list[str]:
    """Return the last parts of the paths that the page asks for from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.partition("?")[0].split("/")[-2]))
    return asked


def test_an_open_page_asks_for_nothing_until_something_changes(site, server, user):
    deployment = scenes.half_observed(scenes.environment_of(user))
    site.clock.install()
    asked = noted(site)
    sign_in(site, server, address(deployment))
    server.wait_until_waiting(1)
    # What happened in the seconds before counts as missed.
    site.clock.run_for(3000)
    site.wait_for_load_state("networkidle")
    assert asked.count("events") == 1
    asked.clear()
    # Without a stream it would ask every 2 s.
    site.clock.run_for(30_000)
    assert asked == []
    site.clock.resume()
    make_sample(deployment, sequence_index=4)
    deployment.jobs.filter(sequence_index=4).update(status="failed")
    expect(site.get_by_text("3 of 5 samples")).to_be_visible()
    make_verdict(deployment)
    expect(site).to_have_title(re.compile("^OK"))
    expect(site.locator("[data-live-state]")).to_have_attribute("data-live-state", "final")
    assert set(asked) <= {"live", "icons"}
    assert asked.count("live") <= 3
    server.wait_until_waiting(0)


def test_a_page_whose_stream_is_broken_asks_slowly_and_a_hidden_one_has_none(page, server, user):
    deployment = scenes.half_observed(scenes.environment_of(user))
    page.clock.install()
    page.route("**/events/**", lambda route: route.abort())
    sign_in(page, server, address(deployment))
    asked = noted(page)
    page.clock.run_for(10_000)
    assert "live" not in asked
    make_verdict(deployment)
    page.clock.run_for(10_000)
    expect(page).to_have_title(re.compile("^OK"))

    page.unroute("**/events/**")
    sign_in(page, server, "/dashboard/")
    server.wait_until_waiting(1)
    page.clock.run_for(3000)
    page.wait_for_load_state("networkidle")
    asked.clear()
    # Elapsed times go on all the same.
    page.clock.run_for(40_000)
    expect(page.locator("#live time[data-ago]").first).to_have_text(re.compile(r"^[4-9]\d s ago$"))
    assert asked == []
    hide = "value => { Object.defineProperty(document, 'hidden', {configurable: true, value});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    server.wait_until_waiting(0)
    page.evaluate(hide, False)
    page.clock.resume()
    server.wait_until_waiting(1)


def test_a_page_without_scripts_loads_itself_again_while_there_is_more_to_come(browser_of, user):
    deployment = scenes.half_observed(scenes.environment_of(user))
    refresh = '<noscript><meta http-equiv="refresh" content="60"></noscript>'
    has(browser_of.get(address(deployment)), refresh)
    make_verdict(deployment)
    has(browser_of.get(address(deployment)), without=[refresh])
