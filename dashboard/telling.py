"""The judge's texts, which are stored in English, in the language of the page.

Their messages are stored beside them (analysis/told.py). A text without one, from an older version or whose template
the catalogue does not know any more, stays English: half a sentence of each would be worse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from django.utils.formats import get_format
from django.utils.translation import get_language
from django.utils.translation.trans_real import catalog

from analysis.told import Message, Told, Unreadable, number, render

# As typographers of the languages that group by spaces want it.
SPACES = {"\xa0": "\N{NARROW NO-BREAK SPACE}", " ": "\N{NARROW NO-BREAK SPACE}"}
# A number and its unit stay on one line; other languages write that space into their texts.
UNIT = re.compile(r"(?<=\d) (?=(?:%|(?:ms|s|min|h|req/s|requests/s)\b))")


class Stored(Protocol):
    """A row with texts: a verdict or a hint."""

    @property
    def phrases(self) -> Mapping[str, Message]: ...


class ActiveLanguage:
    """The language of the page, by Django's catalogue and formats."""

    def text(self, msgid: str) -> str:
        found = catalog()
        self._require(found, msgid)
        return str(found.gettext(msgid))

    def plural(self, msgid: str, plural: str, n: int) -> str:
        found = catalog()
        self._require(found, (msgid, 0))
        return str(found.ngettext(msgid, plural, n))

    def digits(self, digits: str) -> str:
        group = str(get_format("THOUSAND_SEPARATOR"))
        separators = {ord(","): SPACES.get(group, group), ord("."): str(get_format("DECIMAL_SEPARATOR"))}
        return digits.translate(separators)

    def _require(self, found: Any, key: Any) -> None:
        # gettext gives back what it does not know; and the empty text stands for the catalogue's own header.
        if not key or key not in found._catalog:
            raise LookupError(key)


ACTIVE = ActiveLanguage()


def is_english() -> bool:
    return (get_language() or "en").partition("-")[0] == "en"


def in_language(text: Any, stored: Stored | None = None) -> str:
    """The text in the language of the page. stored: the row that it was read from; not needed for a Told."""
    english = "" if text is None else str(text)
    if is_english() or not english:
        return UNIT.sub("\xa0", english)
    message = text.message if isinstance(text, Told) else stored.phrases.get(english) if stored is not None else None
    if message is None:
        return english
    try:
        return render(message, ACTIVE)
    except Unreadable:
        return english


def localised(shown: str) -> str:
    """Digits that were written the English way, with the separators of the page's language."""
    return in_language(number(shown))
