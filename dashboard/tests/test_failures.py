"""What goes wrong with endpoints is told in the language of the page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.utils import translation

from dashboard.failures import TEMPLATES, in_page_language
from metrics.payload import InvalidPayload, parse_metrics
from outbound.addresses import AllowList, refusal
from outbound.endpoints import EndpointError, parse_endpoint

MODULES = (
    "metrics/payload.py",
    "metrics/sources/http_endpoint.py",
    "outbound/addresses.py",
    "outbound/endpoints.py",
    "outbound/fetcher.py",
    "outbound/transfer.py",
)
# For whoever sets SeqPulse up, and for programmers: on no page.
ELSEWHERE = (
    "is not a number in JSON",
    "is neither a network (10.0.0.0/8), a host (app.example) nor a suffix (.example)",
    "is not a network:",
    "A header's value contains a character that is not allowed there.",
    "cannot be set.",
)
STARTS = ("at least 0", "The header")
METRICS = '"requests_per_sec": 1, "latency_p95": 1, "error_rate": 0, "cpu_usage": 0, '


@pytest.fixture
def french() -> Iterator[None]:
    with translation.override("fr"):
        yield


def literals(node: ast.AST) -> Iterator[str]:
    """The texts in a module, without docstrings; of an f-string, what stands between its values."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value.strip()
        else:
            yield from literals(child)


@pytest.mark.parametrize("module", MODULES)
def test_every_text_of_these_modules_has_a_template(module: str) -> None:
    known = [re.sub(r"\{\w+\}", "{}", template) for template in TEMPLATES]
    tree = ast.parse((settings.BASE_DIR / module).read_text(encoding="utf-8"))
    sentences = [text for text in literals(tree) if re.search(r"[a-z'’]{2,} [a-z]{2,}", text)]
    here = [text for text in sentences if text not in (*ELSEWHERE, *STARTS)]
    assert [text for text in here if not any(text in each for each in known)] == []


def problem_of(body: str) -> str:
    with pytest.raises(InvalidPayload) as caught:
        parse_metrics(body.encode())
    return str(caught.value)


def endpoint_error(url: str) -> str:
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(url)
    return str(caught.value)


@pytest.mark.parametrize(
    ("english", "part"),
    [
        (problem_of('{"metrics": 3}'), "la réponse n’a pas d’objet «\u00a0metrics"),
        (problem_of("{" + f'"metrics": {{{METRICS} "memory_usage": 42}}' + "}"), "memory_usage vaut 42"),
        (problem_of("{" + f'"metrics": {{{METRICS} "memory_usage": null}}' + "}"), "memory_usage vaut null"),
        (problem_of('{"metrics": {}}'), "requests_per_sec manque"),
        (f"10.0.0.1:80 may not be called: {refusal('10.0.0.1', AllowList())}. An operator can let it through with "
         "SEQPULSE_OUTBOUND_ALLOW.", "10.0.0.1 est une adresse privée"),
        (endpoint_error("ftp://example.com/"), "seuls http et https"),
        ("HTTP 503 from https://shop.example.com/m", "HTTP 503 de https://shop.example.com/m"),
        ("no complete answer from a.example:80 within 5 s (while connecting)", "pendant la connexion"),
    ],
)  # fmt: skip
def test_a_failure_is_told_in_french(french: None, english: str, part: str) -> None:
    assert part in in_page_language(english)


def test_what_fits_no_template_stays_as_it_is(french: None) -> None:
    for text in ("", "some other program's words", "no answer " * 10_000, "HTTP 503", "\0", "{host}"):
        assert in_page_language(text) == text


def test_english_pages_show_what_is_stored() -> None:
    assert in_page_language("HTTP 503 from https://a.example/") == "HTTP 503 from https://a.example/"
