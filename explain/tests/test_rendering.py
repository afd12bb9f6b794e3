"""Facts become sentences: units, plurals, nesting, other languages, and whatever is stored."""

import gettext
import json
import pickle
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explain import catalogue, languages, rendering
from explain.catalogue import Plural, register
from explain.errors import ExplainedError
from explain.facts import Fact, NotAFact, Param
from explain.languages import Language
from explain.rendering import quantity, render

NARROW = "\N{NARROW NO-BREAK SPACE}"


class Shouting(gettext.NullTranslations):
    """A language of capitals, with other separators."""

    known: ClassVar = {
        "p95 rose to {level:ms}": "{level:ms}: P95",
        "{n} ms": "{n} MS",
        "1,234.5": "1 234,5",
        "unknown": "?",
        "{value:{unit}}": "{value:{unit}}",
    }

    def gettext(self, message: str) -> str:
        if message not in self.known:
            raise languages.Untranslated(message)
        return self.known[message]

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return "{n} SAMPLE" if n < 2 else "{n} SAMPLES"


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "TEMPLATES", dict(catalogue.TEMPLATES))
    monkeypatch.setattr(rendering, "TEMPLATES", catalogue.TEMPLATES)
    monkeypatch.setattr(
        rendering, "language", lambda code: Language(Shouting()) if code == "xx" else languages.language(code)
    )
    register(
        {
            "test.rose": "p95 rose to {level:ms}",
            "test.samples": Plural("n", "{n} sample", "{n} samples"),
            "test.both": "{metric:test}: {found:and} in {samples}; {{kept}}",
            "test.latency": "latency",
            "test.level": "{value:{unit}}",
            "test.list": "{items:list}",
            "test.clauses": "{items:clauses}",
            "test.and": "{items:and}",
        }
    )


@pytest.mark.parametrize(
    ("fact", "english", "other"),
    [
        (Fact("test.rose", {"level": 342.1}), "p95 rose to 342 ms", "342 MS: P95"),
        (Fact("test.rose", {"level": 1342.5, "unused": "x"}), "p95 rose to 1,342 ms", "1 342 MS: P95"),
        (Fact("test.rose", {"level": 2.345}), "p95 rose to 2.35 ms", "2,35 MS: P95"),
        (Fact("test.rose", {"level": None}), "p95 rose to unknown", "?: P95"),
        (Fact("test.rose"), "p95 rose to unknown", "?: P95"),
        (Fact("test.rose", {"level": "{a}"}), "p95 rose to {a}", "{a}: P95"),
        (Fact("test.rose", {"level": 10**400}), "p95 rose to unknown", "?: P95"),
        (Fact("test.samples", {"n": 0}), "0 samples", "0 SAMPLE"),
        (Fact("test.samples", {"n": 1}), "1 sample", "1 SAMPLE"),
        (Fact("test.samples", {"n": "many"}), "many samples", "many SAMPLES"),
        # Half of it translated would be worse than none.
        (
            Fact(
                "test.both",
                {
                    "metric": "latency",
                    "found": [Fact("test.rose", {"level": 3}), Fact("test.samples", {"n": 2})],
                    "samples": Fact("test.samples", {"n": 1}),
                },
            ),
            "latency: p95 rose to 3 ms and 2 samples in 1 sample; {kept}",
            "latency: p95 rose to 3 ms and 2 samples in 1 sample; {kept}",
        ),
        (Fact("test.level", {"value": 0.123, "unit": "percent"}), "12.3 %", "12.3 %"),
        (Fact("test.level", {"value": 0.123, "unit": ".999999999f"}), "0.123", "0,123"),
        (Fact("test.level", {"value": 0.5, "unit": "no such unit"}), "0.5", "0,5"),
        (Fact("of a later version", {"n": 1}), "of a later version", "of a later version"),
    ],
)
def test_a_fact_reads_as_its_template_says(fact: Fact, english: str, other: str) -> None:
    stored = Fact.from_json(json.loads(json.dumps(fact.to_json())))
    assert stored == fact
    assert (render(stored), render(stored, "xx")) == (english, other)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("test.and", ["", "a", "a and b", "a, b and c"]),
        ("test.list", ["", "a", "a, b", "a, b, c"]),
        ("test.clauses", ["", "a", "a; b", "a; b; c"]),
    ],
)
def test_lists_are_joined(code: str, expected: list[str]) -> None:
    assert [render(Fact(code, {"items": [Fact(c) for c in "abc"[:count]]})) for count in range(4)] == expected


@pytest.mark.parametrize(
    ("value", "unit", "english", "french"),
    [
        (0.00412, "number", "0.0041", "0,0041"),
        (12_500.4, "number", "12,500", f"12{NARROW}500"),
        (118.4, "ms", "118 ms", f"118{NARROW}ms"),
        (12_400, "ms", "12.4 s", f"12,4{NARROW}s"),
        (0.2, "duration", "0.2 s", f"0,2{NARROW}s"),
        (720, "duration", "12 min", f"12{NARROW}min"),
        (12_600, "duration", "3.5 h", f"3,5{NARROW}h"),
        (0.1234, "percent", "12.3 %", f"12,3{NARROW}%"),
        (0.126, "whole_percent", "13 %", f"13{NARROW}%"),
        (0.006, "points", "0.6 points", "0,6 point"),
        (0.37, "points", "37 points", "37 points"),
        (float("inf"), "points", "inf points", "inf points"),
        (12.34, "rate", "12.3 req/s", f"12,3{NARROW}req/s"),
        (0.25, "rate", "0.25 req/s", f"0,25{NARROW}req/s"),
        (250.6, "rate", "251 req/s", f"251{NARROW}req/s"),
        (None, "ms", "unknown", "niveau inconnu"),
        (1.26, ".1f", "1.3", "1,3"),
    ],
)
def test_units_round_and_write_as_the_language_does(value: float | None, unit: str, english: str, french: str) -> None:
    assert quantity(value, unit) == english
    assert quantity(value, unit, "fr").replace("\xa0", NARROW) == french
    assert quantity(value, unit, "fr-ca") == quantity(value, unit, "fr")
    assert quantity(value, unit, "no such language") == english


def test_a_language_without_a_number_of_its_own_writes_them_as_english_does() -> None:
    assert Language(languages._NoFallback()).digits("1,234.5") == "1,234.5"


def test_a_code_has_one_text() -> None:
    register({"test.latency": "latency"})
    with pytest.raises(ValueError, match=r"test\.latency"):
        register({"test.latency": "slowness"})


def test_an_error_reads_in_english_and_keeps_what_it_is_about() -> None:
    error = ExplainedError("test.rose", field="limits.latency_p95", level=3)
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301  (our own)
        assert (str(one), one.field) == ("p95 rose to 3 ms", "limits.latency_p95")
        assert one.fact == Fact("test.rose", {"level": 3})


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.sampled_from(["code", "params"]), parts),
    max_leaves=10,
)
PARAMS: st.SearchStrategy[Param] = JSON | st.sampled_from(["percent", ".1f", ".999999999f", "x", "{unit}"])
FACTS = st.fixed_dictionaries(
    {
        "code": st.sampled_from(["test.rose", "test.samples", "test.both", "test.level", "test.and", "x"]) | JSON,
        "params": st.dictionaries(
            st.sampled_from(["level", "n", "found", "value", "unit", "items", "metric"]), PARAMS, max_size=4
        )
        | JSON,
    }
)


@given(FACTS | JSON)
def test_whatever_is_stored_reads_as_a_fact_or_is_refused(stored: Any) -> None:
    try:
        fact = Fact.from_json(stored)
    except NotAFact:
        return
    assert isinstance(render(fact), str)
    assert isinstance(render(fact, "xx"), str)


def test_what_is_nested_without_end_is_refused() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = {"code": "test.rose", "params": {"level": deep}}
    with pytest.raises(NotAFact):
        Fact.from_json(deep)
