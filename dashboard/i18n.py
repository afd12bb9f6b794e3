"""Render facts and numbers in the active language."""

import re
from typing import Any

from django.utils.translation import get_language

from common.validation import localized
from explain import languages, rendering
from explain.facts import Fact

# Keep a number and its unit on one line; other languages have that space in their texts.
UNIT = re.compile(r"(?<=\d) (?=(?:%|(?:ms|s|min|h|req/s|requests/s)\b))")


def code() -> str:
    """Return the code of the active language."""
    return get_language() or "en"


def message(fact: Any) -> str:
    """Render a fact in the active language; text is returned unchanged."""
    return _unbroken(localized(fact)) if isinstance(fact, Fact) else str(fact)


def quantity(value: float | None, unit: str) -> str:
    """Write a number with its unit (explain/units.py, analysis/texts/metrics.py)."""
    return _unbroken(rendering.quantity(value, unit, code()))


def localised(english: str) -> str:
    """Convert separators of an English number to the active language."""
    return languages.language(code()).digits(english)


def _unbroken(text: str) -> str:
    return UNIT.sub("\xa0", text) if code().startswith("en") else text
