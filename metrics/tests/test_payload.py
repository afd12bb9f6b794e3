import json
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest

from explain.rendering import render
from metrics.payload import BOUNDS, InvalidPayload, Metrics, parse_metrics, read_metrics
from projects.units import PERCENT, SECONDS, Units

GOOD = {
    "requests_per_sec": 12.5,
    "latency_p95": 180,
    "error_rate": 0.01,
    "cpu_usage": 0,
    "memory_usage": 1,
}


def body(**changes: object) -> bytes:
    return json.dumps({"metrics": {**GOOD, **changes}, "other": 1}).encode()


def test_the_five_metrics_are_read_and_extra_keys_ignored():
    assert parse_metrics(body(extra="x")) == Metrics(12.5, 180.0, 0.01, 0.0, 1.0)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", [None, True, False, "0.5", [], {}, -0.011, float("nan"), float("inf"), 10**400])
def test_what_is_no_plain_number_in_bounds_is_refused_by_name(name, value):
    with pytest.raises(InvalidPayload) as refused:
        parse_metrics(body(**{name: value}))
    assert refused.value.reason in ("invalid_payload", "invalid_json")
    assert name in str(refused.value) or refused.value.reason == "invalid_json"


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("error_rate", 1.0000000000000002, 1.0),
        ("cpu_usage", 1.004, 1.0),
        ("memory_usage", 1.01, 1.0),
        ("error_rate", -1e-17, 0.0),
        ("cpu_usage", -0.004, 0.0),
        ("requests_per_sec", -1e-9, 0.0),
        ("latency_p95", -1e-12, 0.0),
        ("error_rate", -0.0, 0.0),
    ],
)
def test_what_rounding_left_beyond_a_bound_is_the_bound(name, value, stored):
    found = getattr(parse_metrics(body(**{name: value})), name)
    assert (found, math.copysign(1, found)) == (stored, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("error_rate", 1.011), ("cpu_usage", -0.011), ("requests_per_sec", -0.001), ("latency_p95", -0.01)],
)
def test_what_is_further_out_is_refused(name, value):
    with pytest.raises(InvalidPayload, match=f"{name} is {value}, allowed"):
        parse_metrics(body(**{name: value}))


@pytest.mark.parametrize("requests", [0, 0.0, -1e-17])
@pytest.mark.parametrize("absent", [True, False])
def test_without_requests_there_may_be_no_latency(requests, absent):
    metrics = {**GOOD, "requests_per_sec": requests, "latency_p95": None}
    if absent:
        del metrics["latency_p95"]
    raw = json.dumps({"metrics": metrics}).encode()
    assert parse_metrics(raw) == Metrics(0.0, None, 0.01, 0.0, 1.0)
    shown = {reading.name: reading for reading in read_metrics(raw)}["latency_p95"]
    assert (shown.value, shown.problem, shown.doubt) == (None, None, "")


def test_with_requests_a_missing_latency_is_refused_with_the_reason():
    with pytest.raises(InvalidPayload, match=r"latency_p95 is null, .* null only where requests_per_sec is 0.* 12.5"):
        parse_metrics(body(latency_p95=None))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("1e999", "Infinity, which is not finite"),
        ("1" + "0" * 400, "1" + "0" * 36 + "…, which is not finite"),
        ("NaN", "NaN is not a number in JSON"),
        ("-Infinity", "-Infinity is not a number in JSON"),
        ("[1]", "[1]"),
        ('"0.5"', '"0.5"'),
        ("true", "true"),
        ("-3", "-3"),
        ("1.0100000000000002", "1.0100000000000002, allowed"),
        ("536870912", "536,870,912, allowed"),
        ("1e22", "1e+22, allowed"),
    ],
)
def test_a_refusal_shows_the_value(raw, shown):
    text = body(cpu_usage="HERE").replace(b'"HERE"', raw.encode())
    with pytest.raises(InvalidPayload) as refused:
        parse_metrics(text)
    assert f"cpu_usage is {shown}" in str(refused.value).replace("cpu_usage: ", "cpu_usage is ")
    assert "0..1" in str(refused.value)


PERCENTS = Units(SECONDS, PERCENT, PERCENT, PERCENT)


def test_other_units_are_converted_before_bounds_are_checked():
    other = body(latency_p95=0.25, error_rate=1.5, cpu_usage=35, memory_usage=100.4)
    assert parse_metrics(other, PERCENTS) == Metrics(12.5, 250.0, 0.015, 0.35, 1.0)
    with pytest.raises(InvalidPayload, match=r"cpu_usage is 135, allowed 0\.\.100"):
        parse_metrics(body(cpu_usage=135), PERCENTS)
    with pytest.raises(InvalidPayload, match="latency_p95 is 1e\\+308, which is not finite"):
        parse_metrics(body(latency_p95=1e308), PERCENTS)


@pytest.mark.parametrize(
    ("name", "value", "units", "doubt"),
    [
        ("latency_p95", 0.25, Units(), "seconds"),
        ("latency_p95", 1.2, Units(), ""),
        ("latency_p95", 0.25, PERCENTS, ""),
        ("latency_p95", 180, PERCENTS, "milliseconds"),
        ("cpu_usage", 35.0, Units(), "percent"),
        ("memory_usage", 1.7, Units(), "percent"),
        ("error_rate", 4, Units(), "percent"),
        ("memory_usage", 536870912, Units(), "amount"),
        ("memory_usage", 0.55, PERCENTS, "ratio"),
        ("memory_usage", 55, PERCENTS, ""),
        ("error_rate", 0.5, PERCENTS, ""),
        ("cpu_usage", 0, Units(), "nothing"),
        ("cpu_usage", -3, Units(), ""),
    ],
)
def test_a_value_that_looks_like_another_unit_is_named(name, value, units, doubt):
    given = body(**{"cpu_usage": 0.3, "memory_usage": 0.6, name: value})
    assert {reading.name: reading.doubt for reading in read_metrics(given, units)}[name] == doubt


def test_a_fast_answer_without_cpu_use_is_no_second():
    assert {reading.doubt for reading in read_metrics(body(latency_p95=0.25))} == {"", "nothing"}


def test_a_refusal_of_per_cent_says_so():
    with pytest.raises(InvalidPayload, match=r"cpu_usage is 35, allowed 0..1: this looks like a percentage"):
        parse_metrics(body(cpu_usage=35.0))


PROMETHEUS = """# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3
"""


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (PROMETHEUS, "Prometheus text"),
        ("\ufeff" + PROMETHEUS, "Prometheus text"),
        ("up 1\nprocess_cpu_seconds_total 0.24\n", "Prometheus text"),
        ('go_gc_duration_seconds{quantile="0"} 4.9e-05', "Prometheus text"),
        ("# some words\nmetric_without_timestamp_and_labels +Inf\n", "Prometheus text"),
        (PROMETHEUS + "# EOF\n", "OpenMetrics text"),
        ('# TYPE foo counter\n# UNIT foo seconds\nfoo_total 17.0 # {trace_id="a"} 0.6\n', "OpenMetrics text"),
        ("<!DOCTYPE html><html><body>Welcome</body></html>", "an HTML page."),
        ("  <html lang=en><h1>Log in</h1>", "login page"),
        ('<!-- x --><!doctype HTML><form><input name=p type="password"></form>', "login page"),
        ("", "it is empty"),
        (" \n", "it is empty"),
        ('{"http.requests", "code"="200"} 3\n{"process.cpu"} 0.2\n', "Prometheus text"),
        # Longer than what is looked at, whose last line is cut.
        ("# TYPE x counter\n" + f'x{{labels="{1500 * "v"}"}} 1\n' * 15, "Prometheus text"),
        ("Error 500", "syntax error"),
        ("Error: 500", "syntax error"),
        ("status: 5\nuptime: 12\n", "syntax error"),
        ('{"error": {"code": 5} 7', "syntax error"),
        ("not found", "syntax error"),
        ("<feed/>", "syntax error"),
    ],
)
def test_an_answer_in_another_format_is_named(raw, named):
    for read in (parse_metrics, read_metrics):
        with pytest.raises(InvalidPayload) as refused:
            read(raw.encode())
        assert refused.value.reason == "invalid_json"
        assert named in str(refused.value)


def problem_of(raw: bytes, read: Callable[[bytes], Any]) -> str:
    """Return the problem of the body."""
    try:
        return render(read(raw)[0].problem)
    except InvalidPayload as refused:
        return str(refused)


@pytest.mark.parametrize("read", [parse_metrics, read_metrics])
def test_however_deep_a_value_is_it_is_refused(read):
    """Also where reading it is just possible, and writing it for the message is not."""
    for depth in range(1, sys.getrecursionlimit() + 10):
        raw = b'{"metrics": {"requests_per_sec": ' + b"[" * depth + b"]" * depth + b"}}"
        assert problem_of(raw, read)


@pytest.mark.parametrize("name", ["error_rate", "cpu_usage", "memory_usage"])
def test_a_ratio_above_one_is_refused_with_what_is_allowed(name):
    with pytest.raises(InvalidPayload, match=rf"{name} is 4.2, allowed 0..1"):
        parse_metrics(body(**{name: 4.2}))


@pytest.mark.parametrize("name", BOUNDS)
def test_a_missing_metric_is_named(name):
    metrics = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(InvalidPayload, match=f"{name} is missing"):
        parse_metrics(json.dumps({"metrics": metrics}).encode())


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"<html>", "invalid_json"),
        (b"\xff\xff", "invalid_json"),
        (b"[" * 60_000, "invalid_json"),
        (b'{"metrics": {"error_rate": NaN}}', "invalid_json"),
        (b'{"metrics": {"other": NaN}}', "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b"[NaN, NaN", "invalid_json"),
        (b"null", "invalid_payload"),
        (b"[]", "invalid_payload"),
        (b"{}", "invalid_payload"),
        (b'{"metrics": []}', "invalid_payload"),
    ],
)
def test_a_body_that_is_no_set_of_metrics_is_refused(raw, code):
    with pytest.raises(InvalidPayload) as refused:
        parse_metrics(raw)
    assert refused.value.reason == code


def body_of(**document: Any) -> bytes:
    return json.dumps(document).encode()


def test_an_answer_may_have_custom_metrics_and_a_number_of_instances() -> None:
    found = parse_metrics(body_of(metrics=GOOD, custom={"backlog": 12, "hit_rate": 0.5}, instances=3))
    assert (found.custom, found.instances, found.error_rate) == (
        {"backlog": 12.0, "hit_rate": 0.5},
        3,
        GOOD["error_rate"],
    )
    plain = parse_metrics(body_of(metrics=GOOD, custom=None, instances=None))
    assert (plain.custom, plain.instances) == ({}, None)


@pytest.mark.parametrize("metrics", [{}, {"cpu_usage": 0.5, "error_rate": None}, None])
def test_with_custom_metrics_the_five_are_optional(metrics: dict[str, Any] | None) -> None:
    document: dict[str, Any] = {"custom": {"backlog": 12}} | ({} if metrics is None else {"metrics": metrics})
    found = parse_metrics(body_of(**document))
    assert (found.custom, found.cpu_usage, found.error_rate) == (
        {"backlog": 12.0},
        (metrics or {}).get("cpu_usage"),
        None,
    )
    readings = read_metrics(body_of(**document))
    assert [one.name for one in readings] == [*(["cpu_usage"] if metrics else []), "backlog"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"custom": [1]}, "custom"),
        ({"custom": {"Backlog": 1}}, "custom"),
        ({"custom": {"error_rate": 1}}, "custom"),
        ({"custom": {"b" * 64: 1}}, "custom"),
        ({"custom": {f"jobs_{n}": 1 for n in range(101)}}, "custom"),
        *(
            ({"custom": {"backlog": value}}, "custom.backlog")
            for value in ("5", None, True, 1e300, -1e16, 10**400, [1])
        ),
        *(({"custom": {"backlog": 1}, "instances": value}, "instances") for value in (0, -1, 2.0, True, "3", 10**9)),
        ({"custom": {"backlog": 1}, "metrics": {"cpu_usage": 5}}, "metrics.cpu_usage"),
        ({"custom": {}, "metrics": {}}, "metrics.requests_per_sec"),
        ({"custom": {}}, "metrics"),
    ],
)
def test_a_wrong_custom_metric_is_refused_with_its_field(document: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        parse_metrics(body_of(**document))
    assert caught.value.field == field
    assert "{" not in str(caught.value).replace("{}", "")


def test_a_custom_metric_that_is_no_number_of_json_is_named() -> None:
    with pytest.raises(InvalidPayload, match="custom: backlog is NaN"):
        parse_metrics(b'{"custom": {"backlog": NaN}}')
