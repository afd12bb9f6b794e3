"""A policy as a file: written and read back."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.policies.views import policy_to_toml
from projects.policies import policy_from_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
TREES = st.recursive(
    st.dictionaries(TEXT, VALUES, max_size=4), lambda tree: st.dictionaries(TEXT, VALUES | tree, max_size=3)
)

ADAPTIVE: dict[str, Any] = {
    "kind": "adaptive",
    "sensitivity": "high",
    "limits": {"latency_p95": 800, "error_rate": 0.012},
    "tolerances": {"latency_p95": 0.25},
    "warmup_samples": 2,
    "critical_metrics": ["error_rate"],
    "left_out": [],
    "shadow": True,
}
FIXED: dict[str, Any] = {
    "kind": "fixed",
    "latency_p95": {"limit": 1e22, "tolerance": 5e-324},
    "requests_per_sec": {"drop": 0.3},
    "secured_factor": 1.0,
}


@given(TREES, TEXT)
def test_any_tree_of_values_reads_back_from_the_table_of_its_environment(tree: dict[str, Any], name: str) -> None:
    assert tomllib.loads(policy_to_toml(tree, name)) == {"environments": {name: tree}}


@pytest.mark.parametrize("policy", [{}, ADAPTIVE, FIXED])
@pytest.mark.parametrize("name", ["prod", "eu west", 'a"b\\c', "über.prod"])
def test_a_policy_reads_back_for_its_environment_and_for_no_other(policy: dict[str, Any], name: str) -> None:
    text = policy_to_toml(policy, name)
    assert policy_from_toml(text, name) == policy
    assert policy_from_toml(text, "another") == {}


def test_nothing_is_written_for_what_is_left_to_the_default() -> None:
    assert policy_to_toml({"warmup_samples": None, "shadow": False}, "prod") == "[environments.prod]\nshadow = false\n"


def test_a_policy_is_written_as_people_would() -> None:
    policy = {"sensitivity": "low", "limits": {"latency_p95": 800}, "left_out": ["cpu_usage", "memory_usage"]}
    assert policy_to_toml(policy, "prod") == (
        '[environments.prod]\nsensitivity = "low"\nleft_out = ["cpu_usage", "memory_usage"]\n'
        "\n[environments.prod.limits]\nlatency_p95 = 800\n"
    )


@pytest.mark.parametrize("value", [object(), b"x"])
def test_what_no_policy_holds_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        policy_to_toml({"sensitivity": value}, "prod")
