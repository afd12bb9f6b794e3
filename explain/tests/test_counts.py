"""Counts are whole numbers, and one is written in the singular."""

import re

import pytest

from explain.catalogue import TEMPLATES
from explain.rendering import quantity
from explain.units import COUNTED
from tests.client_module import load

# A plain count before a plural: written so whatever the number is.
PLAIN = re.compile(r"\{\w+(?::number)?\} (?:samples|collections|requests|minutes|hours|events)\b(?!/)")


@pytest.mark.parametrize(
    ("value", "unit", "english", "french"),
    [
        (1, "n_samples", "1 sample", "1 échantillon"),
        (5, "n_samples", "5 samples", "5 échantillons"),
        (2448.7, "n_requests", "2,449 requests", "2 449 requêtes"),
        (1.2, "n_requests", "1 request", "1 requête"),
        (0, "n_collections", "0 collections", "0 collecte"),
        # Of what was counted at all there is no 0.
        (0.2, "count", "1", "1"),
        (118.6, "count", "119", "119"),
    ],
)
def test_a_count(value: float, unit: str, english: str, french: str) -> None:
    assert quantity(value, unit) == english
    assert re.sub(r"\s", " ", quantity(value, unit, "fr")) == french


def test_no_text_counts_without_its_number() -> None:
    # Chosen by the other number (analysis/judge/types.py).
    templates = {code: template for code, template in TEMPLATES.items() if code != "samples_over"}
    for code, template in templates.items():
        # A plural follows the number by which it is chosen.
        text = template if isinstance(template, str) else template.many.replace(f"{{{template.by}}}", "")
        assert not PLAIN.search(text), code
    assert len(COUNTED) > 5


def test_the_client_counts_so_too() -> None:
    client = load()
    answer = {"verdict": "ok", "confidence": 0.98, "evidence": {"post_samples": 1}}
    assert client.title_of(answer) == "OK (98 % confidence on 1 sample)"
    assert client.title_of({**answer, "evidence": {"post_samples": 5}}) == "OK (98 % confidence on 5 samples)"
    assert [client.count(value) for value in (2448.7, 0.2, 0, None)] == ["2,449", "1", "0", "–"]
