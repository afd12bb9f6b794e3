import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from explain.rendering import render
from metrics.payload import BOUNDS, InvalidPayload, Metrics, parse_metrics, read_metrics

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
@pytest.mark.parametrize("value", [None, True, False, "0.5", [], {}, -0.001, float("nan"), float("inf"), 10**400])
def test_what_is_no_plain_number_in_bounds_is_refused_by_name(name, value):
    with pytest.raises(InvalidPayload) as refused:
        parse_metrics(body(**{name: value}))
    assert refused.value.reason in ("invalid_payload", "invalid_json")
    assert name in str(refused.value) or refused.value.reason == "invalid_json"


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
