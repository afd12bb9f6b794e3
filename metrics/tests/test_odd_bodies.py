"""Every call that takes evidence, with odd values at every place of its body: refused in words, never a 500."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from metrics.alerting import new_token
from metrics.configuring import add_source
from projects.services import create_project

pytestmark = pytest.mark.django_db

ODD: list[Any] = [
    *(None, True, 0, -1, 10**400, "", "x" * 5000, "\0", "\ud800", "é\u2028", [], [[]], [None], {}),
    {"a": {"b": []}},
]


def bodies(odd: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield method, path and body with this value at each of its places."""
    alert = {"labels": odd, "title": "x", "status": odd, "startsAt": odd, "endsAt": odd, "fingerprint": odd}
    for body in (odd, {"alerts": odd}, {"alerts": [odd]}, {"alerts": [alert]}, {"title": odd, "severity": odd}):
        yield "POST", "/alerts/{token}", body
    sample = {"at": odd, "error_rate": odd, "custom": odd, "instance": odd}
    for samples in (odd, [odd], [sample], [{"custom": {"a": odd}}], [{"instance": odd, "cpu_usage": 0.1}]):
        yield "POST", "/samples", {"env": "prod", "samples": samples}
    yield from (("POST", "/samples", body) for body in (odd, {"env": odd, "samples": [{"cpu_usage": 0.1}]}))
    for kind in ("prometheus", "openmetrics", "endpoint", "check", "push", "alerts", odd):
        settings = {"url": odd, "base_url": odd, "steps": odd, "expressions": odd, "headers": odd, "targets": odd}
        for config in (odd, settings, {"url": "https://p.example", "expressions": {"a": odd}, "timeout_s": odd}):
            yield "PUT", "/environments/prod/sources", {"sources": [{"kind": kind, "config": config}]}
    yield from (("PUT", "/environments/prod/sources", body) for body in (odd, {"sources": odd}, {"sources": [odd]}))
    metric = {"name": odd, "histogram": odd, "sum": odd, "gauge": odd}
    for scope in (odd, [odd], [{"metrics": odd}], [{"metrics": [odd]}], [{"metrics": [metric]}]):
        yield "POST", "/v1/metrics", {"resourceMetrics": [{"resource": odd, "scopeMetrics": scope}]}
    yield from (("POST", "/v1/metrics", body) for body in (odd, {"resourceMetrics": odd}))
    yield "POST", "/deployments/trigger", {"env": "prod", "control": odd}
    yield "POST", "/deployments/finish", {"env": "prod", "result": "success", "green": odd}


def test_no_odd_value_breaks_a_call() -> None:
    made = create_project("shop", environment="prod")
    token = new_token(add_source(made.environment, "alerts", {}))
    add_source(made.environment, "push", {})
    client = Client(raise_request_exception=False, headers={"X-API-Key": made.api_key})
    broken = []
    for odd in ODD:
        for method, path, body in bodies(odd):
            content = json.dumps(body)
            answer = client.generic(method, path.format(token=token), content, content_type="application/json")
            if answer.status_code >= 500:
                broken.append((path, content[:200], answer.status_code))
    assert broken == []
