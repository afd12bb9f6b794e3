"""A policy is read, refused by the names of its fields, and described by its schema."""

import json
from typing import Any

import pytest
from django.conf import settings
from jsonschema import Draft202012Validator

from explain.catalogue import TEMPLATES
from explain.rendering import render
from projects.policy import (
    METRICS,
    MOST_ERRORS,
    AdaptivePolicy,
    FixedPolicy,
    InvalidPolicy,
    policy_from_dict,
    policy_schema,
)
from projects.texts import POLICY_ERRORS

ADAPTIVE: dict[str, Any] = {
    "sensitivity": "high",
    "limits": {"latency_p95": 500},
    "tolerances": {"latency_p95": 0.1},
    "warmup_samples": 3,
    "critical_metrics": ["error_rate"],
    "left_out": ["cpu_usage"],
    "shadow": True,
}
FIXED: dict[str, Any] = {
    "kind": "fixed",
    "error_rate": {"limit": 0.05},
    "critical_metrics": ["error_rate", "cpu_usage"],
}
# More digits than Python writes out, and a half of a surrogate pair, which nothing can be encoded with.
HUGE = 16**4400
HALF = "\ud800"
DEEP: list[Any] = []
for _ in range(50_000):
    DEEP = [DEEP]


def custom(path: str, value: Any) -> tuple[Any, str]:
    """A policy with a custom metric that has this value at the path."""
    section, _dot, key = path.partition(".")
    metric = {"name": "jobs", section: {key: value} if key else value}
    return {"kind": "fixed", "custom_metrics": [metric]}, f"custom_metrics.0.{path}"


WRONG: list[tuple[Any, str]] = [
    ([], "policy"),
    (None, "policy"),
    ({HALF: 1}, "policy"),
    ({"kind": "magic"}, "kind"),
    ({"kind": ["fixed"]}, "kind"),
    ({"kind": HUGE}, "kind"),
    ({"sensitivity": "highest"}, "sensitivity"),
    ({"sensitivity": ["high"]}, "sensitivity"),
    ({"sensitivity": HALF}, "sensitivity"),
    ({"sensitivity": DEEP}, "sensitivity"),
    ({"limits": {"latency": 5}}, "limits.latency"),
    ({"limits": {"error_rate": 5}}, "limits.error_rate"),
    ({"limits": {"error_rate": "0.5"}}, "limits.error_rate"),
    ({"limits": {"latency_p95": float("inf")}}, "limits.latency_p95"),
    ({"limits": {"latency_p95": float("nan")}}, "limits.latency_p95"),
    ({"limits": {"latency_p95": HUGE}}, "limits.latency_p95"),
    ({"limits": {"latency_p95": None}}, "limits.latency_p95"),
    ({"limits": {HALF: 1}}, "limits"),
    ({"limits": [1]}, "limits"),
    ({"tolerances": {"error_rate": 1.5}}, "tolerances.error_rate"),
    ({"tolerances": {"error_rate": True}}, "tolerances.error_rate"),
    ({"warmup_samples": -1}, "warmup_samples"),
    ({"warmup_samples": 2.5}, "warmup_samples"),
    ({"warmup_samples": True}, "warmup_samples"),
    ({"critical_metrics": "error_rate"}, "critical_metrics"),
    ({"critical_metrics": ["errors"]}, "critical_metrics"),
    ({"left_out": [["cpu_usage"]]}, "left_out"),
    ({"left_out": list(METRICS)}, "left_out"),
    ({"shadow": 1}, "shadow"),
    ({"sensitivty": "high"}, "sensitivty"),
    ({"latency_p95": {"limit": 300}}, "latency_p95"),
    ({"kind": "fixed", "latency": {"limit": 3}}, "latency"),
    ({"kind": "fixed", "latency_p95": 300}, "latency_p95"),
    ({"kind": "fixed", "latency_p95": {"limt": 300}}, "latency_p95.limt"),
    ({"kind": "fixed", "latency_p95": {"limit": 0}}, "latency_p95.limit"),
    ({"kind": "fixed", "latency_p95": {"limit": "300"}}, "latency_p95.limit"),
    ({"kind": "fixed", "latency_p95": {"limit": float("nan")}}, "latency_p95.limit"),
    ({"kind": "fixed", "latency_p95": {"limit": float("inf")}}, "latency_p95.limit"),
    ({"kind": "fixed", "latency_p95": {"limit": 10**400}}, "latency_p95.limit"),
    ({"kind": "fixed", "error_rate": {"limit": 1.5}}, "error_rate.limit"),
    ({"kind": "fixed", "error_rate": {"limit": True}}, "error_rate.limit"),
    ({"kind": "fixed", "cpu_usage": {"tolerance": -0.1}}, "cpu_usage.tolerance"),
    ({"kind": "fixed", "requests_per_sec": {"drop": 0}}, "requests_per_sec.drop"),
    ({"kind": "fixed", "requests_per_sec": {"min_pre_mean": None}}, "requests_per_sec.min_pre_mean"),
    ({"kind": "fixed", "secured_factor": 1.1}, "secured_factor"),
    ({"kind": "fixed", "critical_metrics": "error_rate"}, "critical_metrics"),
    ({"kind": "fixed", "critical_metrics": ["errors"]}, "critical_metrics"),
    ({"kind": "fixed", "critical_metrics": [["errors"]]}, "critical_metrics"),
    ({"kind": "fixed", "min_quality": 2}, "min_quality"),
    ({"custom_metrics": {"jobs": {}}}, "custom_metrics"),
    ({"custom_metrics": None}, "custom_metrics"),
    ({"custom_metrics": [{"name": f"jobs_{n}"} for n in range(31)]}, "custom_metrics"),
    ({"custom_metrics": [{"name": "jobs"}, {"name": "jobs"}]}, "custom_metrics"),
    ({"custom_metrics": [{"name": "jobs"}, {"unit": "/min"}]}, "custom_metrics.1.name"),
    *(custom("name", name) for name in ("", "Jobs", "1st", "a-b", "error_rate", 5, "j" * 64, "jobs\n", HALF)),
    *(custom("unit", unit) for unit in ("u" * 21, "a\tb", 5, None)),
    *(custom("kind", kind) for kind in ("counter", ["gauge"], HALF)),
    custom("direction", "up"),
    custom("critical", "yes"),
    custom("smallest", -1),
    custom("warning", {}),
    custom("warning", 5),
    custom("rollback", {"relative": None}),
    *(custom("warning.absolute", number) for number in (0, -1, True, "5", float("nan"), HUGE)),
    *(custom("rollback.relative", number) for number in (0, float("inf"))),
    custom("warning.relativ", 1),
    custom("limit", 1),
    (
        {"custom_metrics": [{"name": "jobs", "direction": "down_is_bad", "warning": {"relative": 1.5}}]},
        "custom_metrics.0",
    ),
    (
        {"custom_metrics": [{"name": "jobs", "warning": {"absolute": 5}, "rollback": {"absolute": 4}}]},
        "custom_metrics.0",
    ),
]


def refused(data: Any) -> InvalidPolicy:
    with pytest.raises(InvalidPolicy) as caught:
        policy_from_dict(data)
    return caught.value


@pytest.mark.parametrize("data", [ADAPTIVE, FIXED, {}])
def test_a_policy_survives_being_stored(data: dict[str, Any]) -> None:
    policy = policy_from_dict(data)
    stored = json.loads(json.dumps(policy.as_dict()))
    assert policy_from_dict(stored) == policy
    assert policy_from_dict(stored).as_dict() == stored
    assert stored.items() >= {name: value for name, value in data.items() if not isinstance(value, dict)}.items()


@pytest.mark.parametrize(
    ("data", "policy"),
    [
        ({}, AdaptivePolicy()),
        ({"kind": "fixed"}, FixedPolicy()),
        ({"warmup_samples": None}, AdaptivePolicy()),
        (
            {"left_out": ["cpu_usage", "latency_p95", "cpu_usage"]},
            AdaptivePolicy(left_out=("latency_p95", "cpu_usage")),
        ),
    ],
)
def test_missing_keys_mean_the_default_and_metrics_have_one_order(data: dict[str, Any], policy: Any) -> None:
    assert policy_from_dict(data) == policy


@pytest.mark.parametrize(
    ("metric", "direction", "warning", "rollback"),
    [
        ({}, "up_is_bad", {"relative": 0.3}, {"relative": 1.0}),
        ({"kind": "rate"}, "down_is_bad", {"relative": 0.3}, {"relative": 0.8}),
        ({"kind": "ratio"}, "up_is_bad", {"absolute": 0.02}, {"absolute": 0.1}),
        ({"kind": "count", "warning": {"absolute": 50}}, "up_is_bad", {"absolute": 50}, {"absolute": 150}),
        ({"direction": "down_is_bad"}, "down_is_bad", {"relative": 0.3}, {"relative": pytest.approx(1 - 0.7 / 3)}),
        ({"kind": "rate", "warning": {"relative": 1}}, "down_is_bad", {"relative": 1}, {"relative": 1}),
    ],
)
def test_a_custom_metric_has_sensible_margins(metric: Any, direction: str, warning: Any, rollback: Any) -> None:
    [read] = policy_from_dict({"custom_metrics": [{"name": "jobs_done", **metric}]}).custom_metrics
    assert (read.direction, read.label, read.critical) == (direction, "jobs done", False)
    assert read.warning.model_dump(exclude_none=True) == warning
    assert read.rollback.model_dump(exclude_none=True) == rollback
    stored = policy_from_dict({"custom_metrics": [{"name": "jobs_done", **metric}]}).as_dict()
    assert policy_from_dict(json.loads(json.dumps(stored))).as_dict() == stored


@pytest.mark.parametrize(("data", "field"), WRONG)
def test_a_wrong_policy_is_refused_with_its_field_named_in_each_language(data: Any, field: str) -> None:
    [(named, fact)] = refused(data).errors.items()
    assert named == field
    assert fact.code in POLICY_ERRORS
    english, french = render(fact), render(fact, "fr")
    assert english != french
    assert "{" not in english + french


def test_every_kind_of_error_has_its_case() -> None:
    assert {fact.code for data, _field in WRONG for fact in refused(data).errors.values()} == set(POLICY_ERRORS)
    assert TEMPLATES.keys() >= POLICY_ERRORS.keys()


def test_every_wrong_field_is_named_at_once_and_what_there_is_instead() -> None:
    errors = refused({"sensitivity": "extreme", "limits": {"latency": 3, "error_rate": 2}, "shadow": "no"}).errors
    assert list(errors) == ["sensitivity", "limits.error_rate", "limits.latency", "shadow"]
    assert "latency_p95, error_rate" in render(errors["limits.latency"])
    assert render(errors["sensitivity"]) == "Must be one of low, normal, high."
    assert "limits.error_rate: policy.ratio" in str(refused({"limits": {"error_rate": 5}}))


def test_a_policy_of_nothing_but_unknown_fields_is_refused_in_few_words() -> None:
    errors = refused({f"{number}{'x' * 5000}{HALF}": 1 for number in range(2000)} | {"b" * 5000: 1}).errors
    assert len(errors) <= MOST_ERRORS
    assert all(len(field) <= 100 for field in errors)


@pytest.mark.parametrize("data", [{}, ADAPTIVE, FIXED, {"kind": "fixed"}, {"critical_metrics": []}])
def test_the_schema_takes_what_the_model_takes(data: dict[str, Any]) -> None:
    schema = Draft202012Validator(policy_schema())
    schema.validate(data)
    schema.validate(policy_from_dict(data).as_dict())
    schema.validate({**data, "environments": {"prod": data}})


def test_the_schema_in_the_documentation_is_that_of_the_model() -> None:
    written = (settings.BASE_DIR / "docs" / "policy.schema.json").read_text(encoding="utf-8")
    assert json.loads(written) == policy_schema(), "write it anew: json.dumps(policy_schema(), indent=2)"


def is_json(data: Any) -> bool:
    try:
        return bool(json.dumps(data, allow_nan=False))
    except (ValueError, RecursionError):
        return False


def test_the_schema_refuses_what_the_model_refuses() -> None:
    schema = Draft202012Validator(policy_schema())
    taken = [field for data, field in WRONG if is_json(data) and schema.is_valid(data)]
    # A schema does not know that a list has every metric, that a number is beyond floats, that names are unique, which
    # characters can be printed, that one of two margins is needed, or which of two is larger.
    assert taken == [
        *("left_out", "latency_p95.limit", "custom_metrics", *["custom_metrics.0.name"] * 2),
        *(
            "custom_metrics.0.unit",
            "custom_metrics.0.warning",
            "custom_metrics.0.rollback",
            "custom_metrics.0",
            "custom_metrics.0",
        ),
    ]
