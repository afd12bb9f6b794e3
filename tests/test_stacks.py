"""Calls by API keys pass fewer middleware than pages, and get the same answers."""

import pytest
from django.test import Client

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
