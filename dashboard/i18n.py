"""Render facts and numbers in the active language."""

from typing import Any

from common.i18n import code, localised, quantity, unbroken
from common.validation import localized
from explain.facts import Fact

__all__ = ["code", "localised", "message", "quantity"]


def message(fact: Any) -> str:
    """Render a fact in the active language; text is returned unchanged."""
    return unbroken(localized(fact)) if isinstance(fact, Fact) else str(fact)
