"""Texts that carry their message: English first, any language later."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.tests.judgements import judgements
from analysis.told import (
    ENGLISH,
    Told,
    Unreadable,
    by_text,
    clauses,
    counted,
    in_a_row,
    joined,
    messages_of,
    number,
    render,
    told,
)


class Shouting:
    """A language of capitals, with other separators."""

    def text(self, msgid: str) -> str:
        return {"{n} ms": "{n} MS", "p95 rose to {level}": "{level}: P95"}[msgid]

    def plural(self, msgid: str, plural: str, n: int) -> str:
        return {"{n} sample": "{n} SAMPLE" if n < 2 else "{n} SAMPLES"}[msgid]

    def digits(self, digits: str) -> str:
        return digits.translate(str.maketrans(",.", " ,"))


def stored(text: Any) -> Any:
    """The message as it comes back from the database."""
    return json.loads(json.dumps(text.message))


def test_a_told_text_is_its_english_text() -> None:
    sentence = told("p95 rose to {level}", level=told("{n} ms", n=number("1,342.5")), unused="x")
    assert sentence == "p95 rose to 1,342.5 ms"
    assert isinstance(sentence, str)
    assert type(str(sentence)) is str
    assert json.dumps([sentence]) == '["p95 rose to 1,342.5 ms"]'
    assert "unused" not in sentence.message["args"]


def test_another_language_says_the_same_figures_in_its_own_order() -> None:
    sentence = told("p95 rose to {level}", level=told("{n} ms", n=number("1,342.5")))
    assert render(stored(sentence), Shouting()) == "1 342,5 MS: P95"


@pytest.mark.parametrize(("n", "english", "other"), [(0, "0 samples", "0 SAMPLE"), (1, "1 sample", "1 SAMPLE")])
def test_each_language_counts_in_its_own_way(n: int, english: str, other: str) -> None:
    sentence = counted(n, "{n} sample", "{n} samples")
    assert sentence == english
    assert render(stored(sentence), Shouting()) == other


def test_braces_in_values_and_doubled_ones_in_templates_are_text() -> None:
    sentence = told("{name}: %{{time}}", name="{time}")
    assert sentence == "{time}: %{time}"
    assert render(stored(sentence), ENGLISH) == sentence


def test_a_placeholder_without_a_value_is_an_error_where_the_text_is_made() -> None:
    with pytest.raises(KeyError):
        told("p95 rose to {level}")


def test_lists_read_as_people_write_them() -> None:
    assert [joined("abc"[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert [in_a_row("abc"[:count]) for count in range(4)] == ["", "a", "a, b", "a, b, c"]
    assert [clauses("abc"[:count]) for count in range(4)] == ["", "a", "a; b", "a; b; c"]


def test_a_copy_keeps_its_message() -> None:
    sentence = told("p95 rose to {level}", level=number("3"))
    for twin in (copy.deepcopy(sentence), pickle.loads(pickle.dumps(sentence))):  # noqa: S301  (our own)
        assert (twin, twin.message) == (sentence, sentence.message)


def test_what_a_language_has_no_words_for_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        render(told("something else").message, Shouting())


def test_messages_are_found_again_by_their_english_texts() -> None:
    one, two = told("p95 rose to {level}", level=number("3")), counted(2, "{n} sample", "{n} samples")
    kept = json.loads(json.dumps(messages_of([one, "plain", two, one, None])))
    assert by_text(kept) == {one: one.message, two: two.message}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(
            st.sampled_from(["msgid", "plural", "n", "args", "number", "{"]) | st.text(), parts, max_size=5
        )
    ),
    max_leaves=20,
)
TEMPLATES = st.sampled_from(["{a}", "{a} {b}", "{{", "}", "{a!r:>99999999}", "{a.b[0]}", "", "{n} sample", "{a}{a}{a}"])
MESSAGES = st.recursive(
    JSON | st.builds(lambda digits: {"number": digits}, JSON),
    lambda parts: st.fixed_dictionaries(
        {"msgid": TEMPLATES | JSON, "args": st.dictionaries(st.sampled_from("abn"), parts, max_size=3) | JSON},
        optional={"plural": TEMPLATES | JSON, "n": JSON},
    ),
    max_leaves=12,
)


@given(st.lists(MESSAGES, max_size=3) | JSON)
@settings(max_examples=150)
def test_whatever_is_stored_is_told_or_left_out(strange: Any) -> None:
    for text, message in by_text(strange).items():
        assert render(message, ENGLISH) == text


def test_what_grows_without_end_is_left_out() -> None:
    message: Any = "lol"
    for _ in range(60):
        message = {"msgid": "{a}{a}{a}{a}{a}{a}{a}{a}{a}{a}", "args": {"a": message}}
    deep: Any = "x"
    for _ in range(100_000):
        deep = {"msgid": "{a}", "args": {"a": deep}}
    assert by_text([message, deep]) == {}


def test_every_text_of_the_judge_carries_a_message_that_tells_it_exactly() -> None:
    seen = 0
    for verdict, hints in judgements():
        texts = [verdict.summary, *(check.sentence for check in verdict.checks)]
        texts += [issue.message for issue in verdict.quality.issues]
        for hint in hints:
            texts += [hint.title, hint.cause, hint.impact, *hint.evidence, *hint.actions]
        for text in texts:
            assert isinstance(text, Told), text
            assert render(stored(text), ENGLISH) == text
            seen += 1
        # Whoever stores a verdict stores plain JSON.
        assert json.loads(json.dumps(asdict(verdict)))["summary"] == verdict.summary
    assert seen > 1000
