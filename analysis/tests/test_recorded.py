"""Verdicts and hints come back from their rows as they were judged, and never fail to say something."""

import json
from dataclasses import asdict, replace
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.judge.types import Basis, Health
from analysis.models import Hint
from analysis.recorded import hint_columns, read_recorded, verdict_json, without_facts
from analysis.tests.judgements import judgements
from analysis.texts.hints import facts_of
from explain.catalogue import TEMPLATES
from explain.facts import Fact
from explain.rendering import render


def stored(value: Any) -> Any:
    """As it comes back from a JSON column."""
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.no_cover
def test_every_verdict_and_hint_reads_back_as_it_was_judged() -> None:
    seen = 0
    for verdict, hints in judgements():
        row = stored({**verdict_json(verdict), "policy": verdict.policy})
        assert row == {**row, "summary": render(verdict.summary)}
        read = read_recorded(row, early=verdict.early).verdict
        assert read == verdict
        for hint in hints:
            columns = stored(hint_columns(hint))
            facts = Hint(**columns).facts
            assert facts == facts_of(hint.text_key, hint.params, evidence=hint.evidence, roll_back=hint.roll_back)
            assert columns["actions"] == [render(action) for action in facts.actions]
            seen += 1
    assert seen > 1000


def test_health_and_basis_read_back_with_their_reasons() -> None:
    verdict = replace(
        next(judgements())[0],
        health=Health("no", (Fact("left_out.by_hand"),)),
        basis=Basis(1234.0, 5678.0, 90.0, exercised=True, doubts=(Fact("quality.no_pre"),)),
    )
    row = stored(verdict_json(verdict))
    reason = {"reason": ANY, "fact": {"code": "left_out.by_hand", "params": {}}}
    assert row["health"] == {"healthy": "no", "reasons": [reason]}
    read = read_recorded({**row, "policy": verdict.policy}).verdict
    assert (read.health, read.basis) == (verdict.health, verdict.basis)


@pytest.mark.no_cover
def test_every_code_of_the_judge_has_a_template() -> None:
    def codes(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(codes, value))
        if not isinstance(value, dict):
            return set()
        own = {value["code"]} if {"code", "params"} == value.keys() else set()
        return own.union(*map(codes, value.values()))

    for verdict, hints in judgements():
        assert codes(stored([asdict(verdict.summary), verdict_json(verdict)])) <= TEMPLATES.keys()
        assert codes(stored([hint_columns(hint)["details"] for hint in hints])) <= TEMPLATES.keys()


def test_what_the_api_shows_has_no_facts() -> None:
    assert without_facts({"a": [{"why": "x", "fact": {"code": "c"}}], "fact": 1}) == {"a": [{"why": "x"}]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.sampled_from(["code", "params"]), parts),
    max_leaves=10,
)
DETAILS = st.fixed_dictionaries(
    {}, optional={"text_key": st.just("high_latency") | JSON, "params": JSON, "evidence": JSON, "roll_back": JSON}
)


@given(JSON, DETAILS | JSON)
@settings(max_examples=150)
def test_what_is_no_fact_keeps_its_english_text(fact: Any, details: Any) -> None:
    row = {"summary": "Roll back.", "fact": fact, "checks": [{"sentence": "Slower.", "fact": fact}]}
    verdict = read_recorded(row).verdict
    assert render(verdict.summary) == "Roll back."
    assert render(verdict.checks[0].fact) == "Slower."
    hint = Hint(title="Slow.", cause="c", impact="i", actions=["a"], evidence=["e"], details=details)
    assert render(hint.facts.title)
