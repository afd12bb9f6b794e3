"""Render numbers in the active language."""

import re

from django.utils.translation import get_language

from explain import languages, rendering

# Keep a number and its unit on one line; other languages have that space in their texts.
UNIT = re.compile(r"(?<=\d) (?=(?:%|(?:ms|s|min|h|req/s|requests/s)\b))")


def code() -> str:
    """Return the code of the active language."""
    return get_language() or "en"


def quantity(value: float | None, unit: str) -> str:
    """Write a number with its unit (explain/units.py, analysis/texts/metrics.py)."""
    return unbroken(rendering.quantity(value, unit, code()))


def localised(english: str) -> str:
    """Convert separators of an English number to the active language."""
    return languages.language(code()).digits(english)


def unbroken(text: str) -> str:
    return UNIT.sub("\xa0", text) if code().startswith("en") else text
