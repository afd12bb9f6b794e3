"""Journeys: what they ask, what they count, and what they refuse, with a real site."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.utils import timezone

from explain.facts import Fact
from explain.rendering import render
from metrics.models import Phase
from metrics.payload import ERROR_ASKS, Metrics
from metrics.sources import source_kind
from metrics.sources.base import Asking, InvalidConfig
from metrics.sources.check_config import CheckConfig
from metrics.sources.http_endpoint import Endpoint
from metrics.tests.site import Asked, Page, Site, serving
from outbound.addresses import AllowList
from outbound.fetcher import Fetcher

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
