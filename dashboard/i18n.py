"""Facts and numbers in the language of the page."""

from __future__ import annotations

import re
from typing import Any

from django.utils.translation import get_language

from common.validation import localized
from explain import languages, rendering
from explain.facts import Fact

# A number and its unit stay on one line; other languages write that space into their texts.
UNIT = re.compile(r"(?<=\d) (?=(?:%|(?:ms|s|min|h|req/s|requests/s)\b))")


def code() -> str:
    """Of the language of the page."""
    return get_language() or "en"


def message(fact: Any) -> str:
    """A fact in the language of the page; text, as others have written it, as it is."""
    return _unbroken(localized(fact)) if isinstance(fact, Fact) else str(fact)


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit (explain/units.py, analysis/texts/metrics.py)."""
    return _unbroken(rendering.quantity(value, unit, code()))


def localised(english: str) -> str:
    """Digits that are written the English way, with the separators of the page's language."""
    return languages.language(code()).digits(english)


def _unbroken(text: str) -> str:
    return UNIT.sub("\xa0", text) if code().startswith("en") else text
