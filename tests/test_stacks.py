"""Calls by API keys pass fewer middleware than pages, and get the same answers."""

import pytest
from django.test import Client
from django.urls import get_resolver
from rest_framework.views import APIView

from projects.authentication import ApiKeyAuthentication
from seqpulse.api import API_CALLS
from tests.access_world import every_pattern

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 404), ({"Host": "elsewhere.example"}, 400), ({"Accept-Language": "fr", "Cookie": "sessionid=\0"}, 404)],
)
def test_both_ways_give_the_same_headers_and_errors(client: Client, headers: dict[str, str], status: int) -> None:
    call, page = (client.get(path, headers=headers) for path in ("/deployments/nowhere", "/api/nowhere"))
    assert (call.status_code, call.content) == (page.status_code, page.content)
    assert call.status_code == status
    # For a refused host, pages get only some of them.
    assert dict(page.headers).items() <= dict(call.headers).items()
    assert {"Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "Content-Length"} <= {*call.headers}


def takes_an_api_key(view: type | None) -> bool:
    if view is None or not issubclass(view, APIView):
        return False
    return any(issubclass(kind, ApiKeyAuthentication) for kind in view.authentication_classes)


def test_the_prefixes_of_calls_are_those_of_the_views_that_take_an_api_key() -> None:
    views = {
        "/" + route.lstrip("^"): getattr(pattern.callback, "view_class", None)
        for _, route, pattern in every_pattern(get_resolver().url_patterns)
    }
    calls = {path for path, view in views.items() if takes_an_api_key(view)}
    assert calls == {path for path in views if path.startswith(API_CALLS)}
    assert {prefix for prefix in API_CALLS if any(path.startswith(prefix) for path in calls)} == {*API_CALLS}
