"""Journeys: what they ask, what they count, and what they refuse, with a real site."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.utils import timezone

from explain.facts import Fact
from explain.rendering import render
from metrics.configuring import add_source, change_source, reveal, try_source, without_secrets
from metrics.models import Phase
from metrics.payload import ERROR_ASKS, Metrics
from metrics.sources import source_kind
from metrics.sources.base import Asking, InvalidConfig
from metrics.sources.check_config import CheckConfig
from metrics.sources.http_endpoint import Endpoint
from metrics.tests.site import Asked, Page, Site, serving
from outbound.addresses import AllowList
from outbound.fetcher import Fetcher, OutboundError
from projects.services import create_project

JSON = (("Content-Type", "application/json"),)


@pytest.fixture(scope="module")
def served() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def site(served: Site, settings: Any) -> Site:
    settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS = 0.1
    served.clear()
    return served


def parsed(data: Mapping[str, Any]) -> CheckConfig:
    kind = source_kind("check")
    assert kind is not None
    config: CheckConfig = kind.parse(data)
    # As it is stored.
    again: CheckConfig = kind.parse(json.loads(json.dumps(config.model_dump(mode="json", exclude_defaults=True))))
    assert again == config
    return config


def ask(data: Mapping[str, Any], phase: str = Phase.POST, **release: str) -> tuple[Metrics, list[Fact]]:
    kind, config = source_kind("check"), parsed(data)
    assert kind is not None
    told: list[Fact] = []

    async def asked() -> Metrics:
        fetcher = Fetcher(AllowList.parse("127.0.0.0/8"))
        now = timezone.now()
        asking = Asking(fetcher, now, now, Endpoint("", ""), phase=phase, release=release, told=told)
        try:
            metrics: Metrics = await kind.read(config, asking)
            return metrics
        finally:
            await fetcher.aclose()

    return asyncio.run(asked()), told


def failed(data: Mapping[str, Any], phase: str = Phase.POST, **release: str) -> set[str]:
    """Return the codes of what was not as expected."""
    metrics, _ = ask(data, phase, **release)
    kind = source_kind("check")
    assert kind is not None
    return {
        one.fact.code.removeprefix("expected.")
        for one in kind.expectations(parsed(data))
        if metrics.custom.get(one.name)
    }


def one_step(site: Site, expect: Mapping[str, Any], **step: Any) -> dict[str, Any]:
    return {"base_url": site.url, "times": 1, "steps": [{"url": "/", "expect": expect, **step}]}


def test_a_login_keeps_its_cookies_and_what_it_captured(site: Site) -> None:
    def login(asked: Asked) -> Page:
        known = asked.headers.get("Cookie") == "session=a1" and asked.body == b"csrf=t%2F1&user=ann"
        return Page(status=302 if known else 403, headers=(("Location", "/home"), ("Set-Cookie", "user=ann; HttpOnly")))

    form = b'<input name="csrf" value="t/1">'
    site.pages = {
        "/form": Page(form, headers=(("Set-Cookie", "session=a1; Path=/; HttpOnly"), ("Set-Cookie", "x=1; Path=/x"))),
        "/login": login,
        "/home": lambda asked: Page(b"Welcome ann" if "user=ann" in asked.headers.get("Cookie", "") else b"Sign in"),
    }
    steps: list[dict[str, Any]] = [
        {"url": "/form", "capture": {"token": {"after": 'name="csrf" value="', "before": '"'}}},
        {
            "method": "POST",
            "url": "/login",
            "body": "csrf={token}&user=ann",
            "expect": {"status": 302, "header": {"name": "Location", "value": "/home"}},
        },
        {"url": "/home", "expect": {"text": "Welcome", "absent": "Sign in"}},
    ]
    metrics, told = ask({"base_url": site.url, "unsafe": True, "times": 3, "steps": steps})
    assert told == []
    assert metrics.error_rate == 0.0
    assert metrics.requests_per_sec is None
    assert metrics.latency_p95 is not None
    assert metrics.latency_p95 > 0
    assert metrics.custom[ERROR_ASKS] == 3
    assert [asked.headers.get("Cookie") for asked in site.asked if asked.path == "/form"] == [None] * 3
    steps[1]["follow"] = True
    steps[1]["expect"] = {"text": "Welcome"}
    assert failed({"base_url": site.url, "unsafe": True, "times": 1, "steps": steps}) == set()


CONFIGURED = {"steps": [{"url": "https://shop.example/"}]}


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"steps": []}, "steps", "config.too_short"),
        ({"steps": [{"url": "https://shop.example/"}] * 11}, "steps", "config.too_long"),
        ({"times": 21}, "times", "config.less_than_equal"),
        ({"steps": [{"url": "/"}]}, "steps.0.url", "check.no_base"),
        ({"steps": [{"url": "ftp://shop.example/"}]}, "steps.0.url", "check.url"),
        ({"steps": [{"method": "POST", "url": "https://shop.example/"}]}, "steps.0.method", "check.unsafe"),
        ({"steps": [{"method": "TRACE", "url": "https://shop.example/"}]}, "steps.0.method", "config.literal_error"),
        ({"steps": [{"url": "https://shop.example/{id}"}]}, "steps.0.url", "check.unknown_name"),
        ({"steps": [{"url": "https://{host}.example/"}]}, "steps.0.url", "check.unknown_name"),
        (
            {"steps": [{"url": "https://shop.example/", "headers": {"X-Token": "{token}"}}]},
            "steps.0.headers.X-Token",
            "check.unknown_name",
        ),
        (
            {
                "steps": [
                    {"url": "https://shop.example/", "capture": {"host": {"json": "$.host"}}},
                    {"url": "https://{host}.example/"},
                ]
            },
            "steps.1.url",
            "check.origin",
        ),
        (
            {"steps": [{"url": "https://shop.example/", "expect": {"json": {"path": "$..a"}}}]},
            "steps.0.expect.json.0.path",
            "json_path.part",
        ),
        ({"steps": [{"url": "https://shop.example/", "expect": {"status": "2x"}}]}, None, "check.status"),
        ({"steps": [{"url": "https://shop.example/", "expect": {"text": "a\nb"}}]}, None, "check.text"),
        ({"steps": [{"url": "https://shop.example/", "body": "a"}]}, "steps.0.body", "check.body"),
        ({"steps": [{"url": "https://shop.example/", "capture": {"a": {}}}]}, "steps.0.capture.a", "check.capture"),
        ({"steps": [{"url": "https://shop.example/", "headers": {"Host": "a"}}]}, None, "header_reserved"),
        (
            {"steps": [{"url": "https://shop.example/", "expect": {"version": {"text": "v{tag}"}}}]},
            None,
            "check.release",
        ),
        ({"base_url": "https://shop.example/?a=1"}, "base_url", "config.url_query"),
        ({"password": "p\n"}, "username", "basic_character"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, Any], field: str | None, code: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        parsed({**CONFIGURED, **change})
    [(path, fact)] = refused.value.errors.items()
    assert fact.code == code
    assert field is None or path == field
    assert render(fact) != code


def page(site: Site, body: bytes = b"", **kwargs: Any) -> None:
    site.pages["/"] = Page(body, **kwargs)


@pytest.mark.parametrize(
    ("expect", "answer", "codes"),
    [
        ({"text": "Grüße & Co"}, Page("<p>Gr\u00fc\u00dfe\n  &amp; Co".encode()), set()),
        ({"text": "It's"}, Page(b"It&#x27;s"), set()),
        ({"text": "Gr\u00fc\u00dfe"}, Page("Gru\u0308\u00dfe".encode()), set()),
        ({"text": "caf\u00e9"}, Page(b"caf\xe9", headers=(("Content-Type", "text/html; charset=latin-1"),)), set()),
        ({"text": "caf"}, Page(b"caf\xe9\xff\x00", headers=(("Content-Type", "text/html; charset=base64"),)), set()),
        ({"text": "a", "absent": "Traceback"}, Page(b"a Traceback"), {"absent"}),
        ({"text": ["a", "b"]}, Page(b"a"), {"text"}),
        ({"text": "a"}, Page(b"a", 500), {"status"}),
        ({"status": [200, "404-410"]}, Page(b"", 404), set()),
        ({"status": ["2xx", 302]}, Page(b"", 301, (("Location", "/a"),)), {"status"}),
        ({"latency_ms": 100}, Page(b"a", pause_s=0.2), {"latency"}),
        ({"header": {"name": "X-Frame-Options"}}, Page(b"a"), {"header_present"}),
        ({"header": {"name": "content-type", "value": "TEXT/html"}}, Page(b"a"), set()),
        ({"header": {"name": "Server", "present": False}}, Page(b"a"), {"header_absent"}),
        ({"json": {"path": "$.items[0].id", "value": 7}}, Page(b'{"items": [{"id": 7}]}', headers=JSON), set()),
        ({"json": {"path": "$.items[-1]"}}, Page(b'{"items": []}', headers=JSON), {"json_present"}),
        ({"json": {"path": "$.ok", "value": True}}, Page(b'{"ok": 1}', headers=JSON), {"json_value"}),
        ({"json": {"path": "$.ok", "value": 1}}, Page(b'{"ok": 1.0}', headers=JSON), set()),
        ({"json": {"path": "$['odd key']", "value": "a"}}, Page(b'{"odd key": "a"}', headers=JSON), set()),
        ({"json": {"path": "$.error", "present": False}}, Page(b'{"error": "x"}', headers=JSON), {"json_absent"}),
        ({"json": {"path": "$.a"}}, Page(b'{"a": NaN}', headers=JSON), {"json_present"}),
        ({"json": {"path": "$.a"}}, Page(b"[" * 100_000, headers=JSON), {"json_present"}),
        ({"json": {"path": "$.a.b"}}, Page(b'{"a": [1]}', headers=JSON), {"json_present"}),
        ({"text": "a"}, Page(b"x" * 1_000_000, chunks=50), {"answer"}),
        ({"text": "a"}, Page(b"x", chunks=200, pause_s=0.1), {"answer"}),
        ({"version": {}}, Page(b"release v2.0.1"), set()),
        ({"version": {}}, Page(b"release v2.0.0"), {"version"}),
        ({"version": {"text": "{commit_sha}"}}, Page(b"built from 0123456"), set()),
        ({"version": {"json": "$.sha", "text": "{commit_sha}"}}, Page(b'{"sha": "01234567"}', headers=JSON), set()),
        ({"version": {"json": "$.sha", "text": "{commit_sha}"}}, Page(b'{"sha": "0"}', headers=JSON), {"version"}),
        ({"version": {"header": "X-Version"}}, Page(b"v2.0.1", headers=(("X-Version", "v1"),)), {"version"}),
    ],
)
def test_what_is_not_as_expected_is_counted(site: Site, expect: dict[str, Any], answer: Page, codes: set[str]) -> None:
    site.pages["/"] = answer
    config = {**one_step(site, expect), "timeout_s": 0.5}
    assert failed(config, version="v2.0.1", commit_sha="0123456789abcdef") == codes


def test_the_new_version_is_looked_for_only_after_the_deployment_and_where_its_name_is_known(site: Site) -> None:
    page(site, b"v1")
    config = one_step(site, {"version": {}})
    for phase, release in ((Phase.PRE, "v2"), (Phase.BASELINE, "v2"), ("", "v2"), (Phase.POST, "")):
        assert failed({**config}, phase, version=release) == set()
    assert failed(config, Phase.POST, version="v2") == {"version"}


def test_more_is_asked_right_before_a_deployment_and_never_more_than_two_at_once(site: Site) -> None:
    page(site, b"a", pause_s=0.02)
    for phase, asks in ((Phase.PRE, 20), (Phase.POST, 5), (Phase.BASELINE, 5)):
        site.asked.clear()
        site.most = 0
        metrics, _ = ask({**one_step(site, {}), "times": 5}, phase)
        assert (len(site.asked), metrics.custom[ERROR_ASKS]) == (asks, asks)
        assert site.most == 2


def test_redirects_are_followed_only_where_asked_and_only_to_hosts_of_the_journey(site: Site) -> None:
    def to(url: str) -> Page:
        return Page(status=302, headers=(("Location", url),))

    site.pages = {
        "/": to("/1"),
        "/1": to(site.url + "/2"),
        "/2": Page(b"there"),
        "/loop": to("/loop"),
        "/out": to("http://169.254.169.254/latest/meta-data"),
        "/odd": to("http://[/"),
        "/file": to("file:///etc/passwd"),
    }
    assert failed(one_step(site, {"status": 302, "header": {"name": "Location", "value": "/1"}})) == set()
    assert failed(one_step(site, {"text": "there"}, follow=True)) == set()
    for url, told in (
        ("/loop", "more than five"),
        ("/out", "does not name"),
        ("/odd", "absolute"),
        ("/file", "file"),
    ):
        config = one_step(site, {}, url=url, follow=True)
        assert failed(config) == {"answer"}, url
        assert told in render(ask(config)[1][0]), url


def test_credentials_go_only_to_the_origin_that_they_are_for(site: Site) -> None:
    with serving() as other:
        other.pages = {"/": Page(b"other")}
        site.pages = {"/": Page(b"a"), "/away": Page(status=307, headers=(("Location", other.url + "/"),))}
        steps = [
            {"url": "/", "headers": {"X-Step": "marked-step"}},
            {"url": "/away", "follow": True, "headers": {"X-Step": "marked-step"}},
            {"url": other.url + "/"},
        ]
        config = {"base_url": site.url, "times": 1, "steps": steps, "username": "ann", "password": "marked-password"}
        assert failed({**config, "headers": {"X-Tenant": "marked-tenant"}}) == set()
    sent = [str(asked.headers) for asked in site.asked]
    assert all("marked-tenant" in one and "Basic" in one and "marked-step" in one for one in sent)
    assert len(other.asked) == 2
    assert not any("marked" in str(asked.headers) or "Authorization" in asked.headers for asked in other.asked)


def test_captured_values_cannot_break_out_of_where_they_are_sent(site: Site) -> None:
    token = 'a/b"&c=1\r\nX-Evil: 1 {x}'
    site.pages = {
        "/token": Page(json.dumps({"t": token, "n": 7}).encode(), headers=JSON),
        "/json": Page(b"a"),
        "/form": Page(b"a"),
        "/header": Page(b"a"),
        "/a%2Fb%22%26c%3D1%0D%0AX-Evil%3A%201%20%7Bx%7D": Page(b"a"),
    }
    steps = [
        {"url": "/token", "capture": {"t": {"json": "$.t"}, "n": {"json": "$.n"}, "none": {"json": "$.none"}}},
        {"method": "POST", "url": "/json", "body": '{"token": "{t}", "n": {n}, "as_is": "{{t}}"}'},
        {"method": "POST", "url": "/form", "body": "token={t}"},
        {"url": "/{t}"},
        {"url": "/header", "headers": {"X-Token": "{t}"}},
        {"url": "/header", "headers": {"X-Token": "{none}"}},
    ]
    config = {"base_url": site.url, "times": 1, "unsafe": True, "steps": steps}
    assert failed(config) == {"capture"}
    bodies = {asked.path: asked for asked in site.asked}
    assert json.loads(bodies["/json"].body) == {"token": token, "n": 7, "as_is": "{t}"}
    assert bodies["/json"].headers["Content-Type"] == "application/json"
    assert parse_qs(bodies["/form"].body.decode()) == {"token": [token]}
    assert "/header" not in bodies
    assert "X-Evil" not in str([asked.headers for asked in site.asked])
    told = [render(fact) for fact in ask(config)[1]]
    assert [text.partition(" ")[2].partition(":")[0] for text in told[1:]] == ["/header", "/header"]
    assert told[0].startswith("GET /token answers 200, but none, which later steps need, is not found")
    assert "a captured value cannot be sent" in told[1]
    assert "none was not found" in told[2]


def test_what_a_page_says_is_told_shortly_and_without_secrets(site: Site, settings: Any) -> None:
    settings.SEQPULSE_SHOW_INTERNAL_ANSWERS = True
    page(site, b"<h1>Oops</h1> password=marked " + b"x" * 5000)
    told = render(ask(one_step(site, {"text": "Welcome"}))[1][0])
    assert told.startswith("GET / answers 200, but \u201cWelcome\u201d is missing; the page begins with \u201cOops")
    assert len(told) < 400
    assert "marked" not in told


def test_a_host_that_is_not_allowed_is_no_failure_of_the_service(site: Site) -> None:
    with pytest.raises(OutboundError) as refused:
        ask({"steps": [{"url": "http://192.168.0.1/"}]})
    assert refused.value.code == "blocked"
    gone = {"base_url": "http://127.0.0.1:1", "times": 2, "steps": [{"url": "/"}]}
    assert failed(gone) == {"answer"}
    assert ask(gone)[0].error_rate == 1.0


@pytest.mark.django_db
def test_trying_a_journey_takes_it_once_and_says_what_is_not_as_expected(site: Site, settings: Any) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    page(site, b"a")
    made = create_project("shop", environment="prod")
    trial = try_source(made.environment, "check", {**one_step(site, {"text": "Welcome", "version": {}}), "times": 5})
    assert (trial.problem, trial.metrics.error_rate, trial.metrics.custom) == (None, 1.0, {})
    assert [render(fact) for fact in trial.told] == ["GET / answers 200, but \u201cWelcome\u201d is missing"]
    assert len(site.asked) == 1


@pytest.mark.django_db
def test_secrets_of_steps_are_not_shown_and_kept_where_they_are_left_out(site: Site, settings: Any) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    made = create_project("shop", environment="prod")
    login = {"method": "POST", "url": "/login", "body": "password=marked", "headers": {"X-Key": "marked"}}
    config = {"base_url": site.url, "unsafe": True, "steps": [login, {"url": "/", "expect": {"text": "a"}}]}
    source = add_source(made.environment, "check", config)
    kind = source_kind("check")
    assert kind is not None
    shown = without_secrets(kind, reveal(source))
    assert "marked" not in str(shown)
    assert shown["steps"] == [{"method": "POST", "url": "/login"}, {"url": "/", "expect": {"text": ["a"]}}]
    for given, kept in (
        (shown, True),
        ({**shown, "steps": shown["steps"][::-1]}, True),
        ({**shown, "base_url": "https://other.example"}, False),
    ):
        change_source(source, given)
        source.refresh_from_db()
        assert ("marked" in source.config.open()) == kept
        change_source(source, config)
        source.refresh_from_db()
