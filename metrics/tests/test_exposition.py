"""Reading exposition formats, with the parsers of the library as the oracle, and what is no exposition."""

import asyncio
import gzip
import math
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as families

from explain.errors import ExplainedError
from explain.rendering import render
from metrics.payload import Metrics
from metrics.sources.base import Asking
from metrics.sources.exposition import Exposition, InvalidExposition, labels_of, read
from metrics.sources.http_endpoint import Endpoint
from metrics.sources.openmetrics import OpenMetricsKind
from metrics.tests.site import Page, Site, serving
from outbound.addresses import AllowList
from outbound.fetcher import Fetcher
from outbound.transfer import OutboundError
from scheduler.registry import JobError

# Signs that end texts, labels or lines, and others.
VALUES = st.text(st.sampled_from('a"\\\n{}=,# le+é漢\t'), max_size=12)
NUMBERS = st.floats(0, 1e12) | st.sampled_from([0.0, 1.0, 17.0])


def found_in(exposition: Exposition) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    found = set()
    for name in exposition.rests:
        for labels, bound, value in exposition.series(name):
            pairs = dict(labels_of(labels)) | ({"le": bound.decode()} if bound is not None else {})
            found.add((name, frozenset(pairs.items()), value))
    return found


def expected_of(parsed: Any) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    samples = [sample for family in parsed for sample in family.samples]
    return {(one.name, frozenset(one.labels.items()), one.value) for one in samples if not math.isnan(one.value)}


@settings(max_examples=60)
@given(values=st.lists(VALUES, min_size=2, max_size=6), numbers=st.lists(NUMBERS, min_size=2, max_size=6))
def test_every_series_is_read_as_the_library_reads_it(values: list[str], numbers: list[float]) -> None:
    registry = CollectorRegistry()
    labels = ["file", "z"]
    counter = Counter("replies", "Of \\ replies\nin all", labels, registry=registry)
    gauge = Gauge("level", "", labels, registry=registry)
    histogram = Histogram("reply_seconds", "", labels, registry=registry)
    summary = Summary("size", "", registry=registry)
    for number, value in enumerate(values):
        pair = (value, values[number - 1])
        amount = numbers[number % len(numbers)]
        counter.labels(*pair).inc(amount, {"trace_id": "a} b"} if number % 2 else None)
        gauge.labels(*pair).set(-amount if number % 3 else float("nan"))
        histogram.labels(*pair).observe(amount, {"trace_id": "# 1"} if number % 2 else None)
        summary.observe(amount)
    text = generate_latest(registry)
    newer: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    assert found_in(read(text)) == expected_of(families(text.decode()))
    expected = expected_of(openmetrics_families(newer.decode()))  # type: ignore[no-untyped-call]
    assert found_in(read(newer)) == expected
    assert found_in(read(text.replace(b"\n", b"\r\n"))) == found_in(read(text))


@pytest.mark.parametrize(
    ("line", "name", "labels", "value"),
    [
        (b'a{b="c"} 1', "a", {"b": "c"}, 1),
        (b"a 1 1700000000000", "a", {}, 1),
        (b"  a   +Inf", "a", {}, math.inf),
        (b"a\t2", "a", {}, 2),
        (b'a { b = "c" , } 3', "a", {"b": "c"}, 3),
        (b'a{b="}",c="{"} 4 1700000000000', "a", {"b": "}", "c": "{"}, 4),
        (b'a{b="\\"\\\\n\\n"} 5', "a", {"b": '"\\n\n'}, 5),
        (b'{"http.server.requests",status="200"} 6', "http.server.requests", {"status": "200"}, 6),
        (b'{"h\xc3\xa9"} 7', "hé", {}, 7),
        (b'a{"b.c"="d"} 8 # {trace="x"} 0.5 1.2', "a", {"b.c": "d"}, 8),
        (b'a 9 # {trace="}"} 1', "a", {}, 9),
        (b'a_bucket{le="0.5",b="c"} 10', "a_bucket", {"le": "0.5", "b": "c"}, 10),
        (b'a_bucket{sample="1",x="le="} 11', "a_bucket", {"sample": "1", "x": "le="}, 11),
        (b'a_bucket{x=",le="} 12', "a_bucket", {"x": ",le="}, 12),
        # Of a length at which reading any part again for each sign would never end.
        (b"a{" + b"b" * 400_000 + b"} 13 # x", "a", {}, 13),
        (b"a{" + b" " * 400_000 + b'b="c"} 14 # x', "a", {"b": "c"}, 14),
        (b'a{"' + b'\\"' * 400_000 + b'"} 15 # x', "a", {}, 15),
    ],
)
def test_other_ways_to_write_a_line(line: bytes, name: str, labels: dict[str, str], value: float) -> None:
    found = found_in(read(b"# HELP x y\n" + line + b"\n# EOF\n"))
    assert found == {(name, frozenset(labels.items()), value)}
    fast = read(line).sums_by_bound(name)
    assert fast in (None, {labels.get("le", "").encode(): value})


def test_a_line_of_hardly_anything_is_refused_soon() -> None:
    with pytest.raises(InvalidExposition):
        list(read(b"a" + b" " * 400_000 + b"b c d").series("a"))


# ------------------------------------------------------------------------------------------------------ what is refused

TEXT = "text/plain; version=0.0.4"
NEWER = "application/openmetrics-text; version=1.0.0"
COUNT = b"# TYPE http_requests_total counter\nhttp_requests_total 1\n"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


def scrape(url: str, **config: object) -> Metrics:
    async def scenario() -> Metrics:
        now, fetcher = timezone.now(), Fetcher(AllowList.parse("127.0.0.0/8"))
        kind = OpenMetricsKind()
        try:
            asking = Asking(fetcher, now, now, Endpoint("", "project"))
            return await kind.read(kind.parse({"url": url, "pause_s": 0.5, "timeout_s": 0.5, **config}), asking)
        finally:
            await fetcher.aclose()

    return asyncio.run(scenario())


def refusal(url: str, **config: object) -> ExplainedError:
    with pytest.raises((JobError, OutboundError)) as raised:
        scrape(url, **config)
    error: ExplainedError = raised.value
    assert render(error.fact)
    return error


PLAIN = (("Content-Type", TEXT),)
PROTOBUF = (("Content-Type", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily"),)
JSON = (("Content-Type", "application/json"),)


@pytest.mark.parametrize(
    ("page", "code", "words"),
    [
        (Page(b"<!doctype html><html><body>Hello</body></html>"), "unread_exposition", "HTML page"),
        (Page(b'<html><form><input type="password"></form></html>'), "unread_exposition", "login"),
        (
            Page(b'{"metrics": {}}', headers=JSON),
            "unread_exposition",
            "not one line",
        ),
        (Page(b"", headers=PLAIN), "unread_exposition", "empty"),
        (Page(COUNT, headers=(("Content-Type", NEWER),)), "unread_exposition", "# EOF"),
        (Page(b"\x0a\x03", headers=PROTOBUF), "unread_exposition", "protobuf"),
        (Page(COUNT + b'http_requests_total{code="2} 1\n', headers=PLAIN), "unread_exposition", "http_requests_total"),
        (Page(COUNT + b"http_requests_total one\n", headers=PLAIN), "unread_exposition", "cannot be read"),
        (Page(b"# TYPE go_threads gauge\ngo_threads 7\n", headers=PLAIN), "no_known_family", "go_threads"),
        (Page(b"no", 403), "source_unauthorized", "token"),
        (Page(b"no", 404), "http_4xx", "404"),
        (Page(b"no", 503), "http_5xx", "503"),
        (Page(b"", 302, (("Location", "/other"),)), "redirect", "redirects"),
        (Page(COUNT * 20_000, headers=PLAIN, chunks=50), "too_large", "8192 KiB"),
        (
            Page(gzip.compress(COUNT * 1_000_000, 1), headers=(*PLAIN, ("Content-Encoding", "gzip"))),
            "too_large",
            "8192 KiB",
        ),
        (Page(COUNT, headers=PLAIN, pause_s=3), "timeout", "within 0.5 s"),
    ],
    ids=lambda one: one if isinstance(one, str) else "page",
)
def test_what_is_no_exposition_is_refused_with_words(site: Site, page: Page, code: str, words: str) -> None:
    site.pages["/metrics"] = page
    error = refusal(f"{site.url}/metrics")
    assert error.code == code
    assert words in render(error.fact)


def test_an_unreachable_or_untrusted_service_is_named() -> None:
    assert refusal("http://127.0.0.1:9/metrics").code == "refused"
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(context) as site:
        site.pages["/metrics"] = Page(COUNT, headers=PLAIN)
        url = f"{site.url}/metrics"
        assert scrape(url, ca_pem=authority.cert_pem.bytes().decode()).requests_per_sec == 0
        assert refusal(url).code == "tls"
        assert refusal(url, ca_pem=other.cert_pem.bytes().decode()).code == "tls"


def test_a_hundred_thousand_series_and_values_that_are_none_do_no_harm(site: Site) -> None:
    lines = [f'http_requests_total{{code="200",id="{number}"}} {number}' for number in range(100_000)]
    lines += ['http_requests_total{code="500"} NaN', 'http_requests_total{code="501"} +Inf', "http_requests_total -1"]
    site.pages["/metrics"] = Page("\n".join(lines).encode(), headers=(("Content-Type", "text/html"),))
    found = scrape(f"{site.url}/metrics", timeout_s=5)
    assert found == Metrics(requests_per_sec=0.0)
