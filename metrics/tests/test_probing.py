"""Tests of endpoints whose answer has no metrics."""

from typing import Any

import pytest

from explain.rendering import render
from metrics.probing import Probe, read_answer
from metrics.sources.http_endpoint import Endpoint
from outbound.fetcher import Response

URL = "http://shop.example/metrics"
HTML = b"<html>" + b"hello " * 100


def read(body: bytes, remote_ip: str, status: int = 200) -> Probe:
    response = Response(status=status, body=body, content_type="text/html", elapsed_ms=3.0, remote_ip=remote_ip)
    return read_answer(Probe(URL, signed=False), response, Endpoint(URL, "project"))


@pytest.mark.parametrize("status", [200, 404])
def test_the_beginning_of_a_public_answer_is_shown(status: int) -> None:
    found = read(HTML, "198.41.0.4", status)
    assert (found.excerpt[:12], len(found.excerpt), found.withheld) == ("<html>hello ", 300, False)


@pytest.mark.parametrize("address", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "fd00::1", "::ffff:10.0.0.5"])
@pytest.mark.parametrize("status", [200, 404])
def test_what_answers_inside_a_network_that_was_let_through_is_not_shown(address: str, status: int) -> None:
    found = read(b"secret of another service", address, status)
    assert (found.excerpt, found.withheld) == ("", True)
    assert found.problem is not None
    assert "secret" not in render(found.problem)


def test_operators_may_let_teams_see_what_answers_inside(settings: Any) -> None:
    settings.SEQPULSE_SHOW_INTERNAL_ANSWERS = True
    found = read(b"what it says, api_key=hunter2", "10.0.0.5", 404)
    assert (found.excerpt, found.withheld) == ("what it says, api_key=[redacted]", False)


def test_an_empty_answer_has_nothing_to_keep_back() -> None:
    assert not read(b"", "10.0.0.5").withheld
