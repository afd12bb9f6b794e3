"""Charts that can be questioned: crosshair, read-out, keyboard, zoom, CSV."""

import csv
import gzip
import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import User
from dashboard.tests import scenes
from dashboard.tests.browsing import look, sign_in
from dashboard.tests.pages import LIST, address
from metrics.storing import store
from tests.factories import make_row

pytestmark = pytest.mark.django_db(transaction=True)


def test_one_crosshair_reads_all_charts_of_a_deployment(site: Page, live_server: Any, user: User) -> None:
    sign_in(site, live_server, address(scenes.with_baseline(scenes.environment_of(user))))
    chart = site.get_by_role("img", name="p95 latency before and after")
    chart.scroll_into_view_if_needed()
    tall = site.evaluate("document.documentElement.scrollHeight")
    box = chart.bounding_box()
    assert box is not None
    site.mouse.move(box["x"] + box["width"] * 0.97, box["y"] + 60)
    reads = site.locator(".chart-read:visible")
    expect(reads).to_have_count(5)
    expect(reads.nth(1)).to_contain_text(re.compile(r"\d\d:\d\d:\d\d.* · 118\sms"))
    expect(site.locator(".crosshair")).to_have_count(5)
    assert site.evaluate("document.documentElement.scrollHeight") == tall
    site.mouse.move(5, 5)
    expect(site.locator(".crosshair")).to_have_count(0)
    chart.focus()
    for _ in range(3):
        site.keyboard.press("ArrowLeft")
    expect(reads).to_have_count(5)
    expect(site.locator("[data-live-announcer]")).to_have_text(re.compile(r"^p95 latency: .* · 118\sms"))
    look(site, "charts-read")
    site.keyboard.press("Escape")
    expect(site.locator(".crosshair")).to_have_count(0)


def test_an_environment_is_zoomed_by_dragging_and_saved_as_csv(site: Page, live_server: Any, user: User) -> None:
    environment = scenes.environment_of(user)
    scenes.sample_baseline(environment, minutes_ago=0, count=50)
    sign_in(site, live_server, f"/dashboard/environments/{environment.pk}/?range=1h")
    chart = site.locator(".timeline-plot").nth(1)
    with site.expect_download() as saved:
        site.get_by_role("button", name="CSV of what is shown").click()
    rows = list(csv.reader(saved.value.path().read_text().splitlines()))
    assert rows[0] == ["time", "Traffic", "p95 latency", "Error rate", "CPU usage", "Memory usage"]
    assert len(rows) == 51
    assert 100 < float(rows[1][2]) < 130
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    site.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 70)
    site.mouse.down()
    site.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 70)
    site.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 70)
    site.mouse.up()
    expect(site).to_have_url(re.compile(r"\?since=\d+&until=\d+$"))
    since, until = map(int, re.findall(r"=(\d+)", site.url))
    now = timezone.now().timestamp()
    assert now - 1900 < since < until < now - 800
    expect(site.locator(".zoomed")).to_be_visible()
    expect(site.get_by_text(re.compile(r"^1[45] samples"))).to_be_visible()
    look(site, "environment-zoomed")
    site.get_by_role("link", name="1 hour").click()
    expect(site.locator(".zoomed")).to_have_count(0)


def test_the_heaviest_pages_are_light(site: Page, live_server: Any, user: User) -> None:
    """At most 120 KB compressed, with all that they load, when nothing is in the browser's cache."""
    environment = scenes.environment_of(user)
    deployment = scenes.with_baseline(environment, **scenes.BROKEN)
    now = timezone.now()
    rows = (make_row(environment, now - timedelta(minutes=5 * n), sequence_index=n) for n in range(290))
    store(list(rows))
    sign_in(site, live_server, "/dashboard/status/")
    for path in (address(deployment), f"/dashboard/environments/{environment.pk}/?range=24h", LIST):
        weight = sum(len(gzip.compress(body)) for body in loaded(site, live_server.url + path))
        assert weight <= 120_000, path


def loaded(site: Page, url: str) -> list[bytes]:
    """Return all that a page loads."""
    bodies: list[bytes] = []
    fresh = site.context.new_page()
    fresh.on("response", lambda answer: bodies.append(answer.body()))
    fresh.route("**/*", lambda route: route.continue_())  # switches the cache off
    fresh.goto(url)
    fresh.wait_for_load_state("networkidle")
    fresh.close()
    return bodies
