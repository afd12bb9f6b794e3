"""Pages of an environment's sources: chosen, filled in, tried, kept without showing a secret."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from lxml.html import fromstring

from accounts.models import Role
from dashboard.tests.pages import shows
from metrics.configuring import add_source, reveal
from metrics.models import PushedSample, Source
from metrics.sources import SOURCE_KINDS
from metrics.tests.prometheus import prometheus_with
from projects.models import Environment

pytestmark = [pytest.mark.django_db, pytest.mark.environment(role=Role.OWNER)]
EXPRESSIONS = "[expressions]\nrequests_per_sec = 'sum(rate)'\nlatency_p95 = 'nothing_there'\nerror_rate = 'rate'\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    now = timezone.now().timestamp()
    times = [now + 120 - 60 * number for number in range(50)]
    series = {f'rate{{pod="{pod}"}}': dict.fromkeys(times, 21.0) for pod in "ab"}
    series |= {
        f'http_requests_total{{service="shop",status="{code}"}}': {at: (at - now + 4000) * 10 for at in times}
        for code in ("200", "500")
    }
    with prometheus_with(tmp_path_factory.mktemp("prometheus"), series) as url:
        yield url


def of(environment: Environment, rest: str) -> str:
    return f"/dashboard/environments/{environment.pk}/sources/{rest}"


def test_every_kind_has_a_form_made_from_its_settings(browser_of: Client, environment: Environment) -> None:
    page = browser_of.get(of(environment, "new/"))
    for kind in SOURCE_KINDS:
        shows(page, str(kind.label)[1:])
        form = browser_of.get(of(environment, f"new/{kind.name}/"))
        assert form.status_code == 200, kind.name
        # Alerts are sent here: there is nothing to ask, and nothing to wait for.
        asks = ("Time limit, in s", "A test asks the source now")
        shows(form, *(asks if kind.measures else ()), without=() if kind.measures else asks)
    assert browser_of.get(of(environment, "new/nagios/")).status_code == 404


def test_a_prometheus_is_found_tried_and_kept(
    browser_of: Client, environment: Environment, prometheus: str, settings: Any
) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    sent = {"url": prometheus, "headers": "Authorization: Bearer planted-secret", "further": EXPRESSIONS}
    tried = browser_of.post(of(environment, "new/prometheus/"), {**sent, "do": "test"})
    shows(tried, "Traffic requests_per_sec Value 42.0 req/s", "2 series")
    assert b"<polyline" in tried.content
    assert not Source.objects.exists()
    found = browser_of.post(of(environment, "new/prometheus/"), {**sent, "further": "", "do": "find"})
    shows(found, "Use these expressions")
    place = next(button["value"] for button in buttons_of(found) if button.get("value", "").startswith("use:"))
    used = browser_of.post(of(environment, "new/prometheus/"), {**sent, "further": "", "do": place})
    assert "http_requests_total" in used.content.decode()
    assert browser_of.post(of(environment, "new/prometheus/"), {**sent, "do": "save"}).status_code == 302
    [source] = Source.objects.all()
    assert reveal(source)["headers"] == {"Authorization": "Bearer planted-secret"}
    page = browser_of.get(of(environment, f"{source.pk}/"))
    assert b"planted" not in page.content
    shows(page, "Remove what is stored: Authorization")
    kept = {"url": prometheus, "further": EXPRESSIONS.replace("sum(rate)", "max(rate)"), "timeout_s": "3"}
    assert browser_of.post(of(environment, f"{source.pk}/"), {**kept, "do": "save"}).status_code == 302
    source.refresh_from_db()
    assert "headers" in reveal(source)
    assert reveal(source)["timeout_s"] == 3
    moved = browser_of.post(of(environment, f"{source.pk}/"), {**kept, "url": "https://evil.example", "do": "test"})
    shows(moved, "enter this again")
    browser_of.post(of(environment, f"{source.pk}/"), {**kept, "remove_headers": "on", "do": "save"})
    source.refresh_from_db()
    assert "headers" not in reveal(source)


def buttons_of(page: Any) -> list[dict[str, str]]:
    return [dict(button.attrib) for button in fromstring(page.content.decode()).iter("button")]


def test_wrong_settings_are_named_and_nothing_is_lost(browser_of: Client, environment: Environment) -> None:
    wrong = {"base_url": "nonsense", "times": "many", "further": "[[steps]]\nurl = 3\n", "do": "save"}
    page = browser_of.post(of(environment, "new/check/"), wrong)
    shows(page, "steps.0.url", "whole number")
    assert "url = 3" in page.content.decode()
    page = browser_of.post(of(environment, "new/check/"), {"further": "[[steps", "headers": "nocolon", "do": "save"})
    shows(page, "Each line has to be Name: value.")
    assert (
        browser_of.post(of(environment, "new/check/"), {"do": "explode", "further": "[[steps]]\nurl='/'"}).status_code
        < 500
    )
    assert not Source.objects.exists()


def test_sources_are_listed_moved_and_removed(browser_of: Client, environment: Environment) -> None:
    settings_page = f"/dashboard/environments/{environment.pk}/settings/"
    shows(browser_of.get(settings_page), "Nothing measures this environment yet.", "Add a source")
    steps = {"base_url": "https://shop.example", "headers": {"X-Token": "planted"}, "steps": [{"url": "/"}]}
    first = add_source(environment, "check", steps)
    second = add_source(environment, "push", {})
    Source.objects.filter(pk=first.pk).update(failure={"code": "timeout"}, failed_at=timezone.now())
    page = browser_of.get(settings_page)
    shows(page, "shop.example", "Not asked yet.")
    assert b"planted" not in page.content
    browser_of.post(of(environment, f"{second.pk}/arrange/"), {"do": "up"})
    assert [row.pk for row in environment.sources.all()] == [second.pk, first.pk]
    browser_of.post(of(environment, f"{second.pk}/arrange/"), {"do": "remove"})
    assert [row.pk for row in environment.sources.all()] == [first.pk]
    assert browser_of.post(of(environment, f"{second.pk}/arrange/"), {"do": "remove"}).status_code == 404
    assert browser_of.post(of(environment, f"{first.pk}/arrange/"), {"do": "no"}).status_code == 400


@pytest.mark.environment(role=Role.VIEWER)
def test_viewers_see_what_measures_it_and_change_nothing(browser_of: Client, environment: Environment) -> None:
    source = add_source(environment, "check", {"base_url": "https://shop.example", "steps": [{"url": "/"}]})
    page = browser_of.get(f"/dashboard/environments/{environment.pk}/settings/")
    shows(page, "shop.example")
    assert b"sources/new" not in page.content
    assert browser_of.get(of(environment, f"{source.pk}/")).status_code == 403
    assert json.loads(source.config.open())


def test_the_page_of_a_push_source_shows_what_came_last(browser_of: Client, environment: Environment) -> None:
    source = add_source(environment, "push", {})
    page = of(environment, f"{source.pk}/")
    shows(browser_of.get(page), "Nothing was pushed in the last two hours.")
    now = timezone.now()
    PushedSample.objects.create(environment=environment, at=now, instance="web-1", latency_p95=120, custom={"queue": 7})
    shows(browser_of.get(page), "What came last", "just now web-1 · p95 latency 120 ms, queue 7")
