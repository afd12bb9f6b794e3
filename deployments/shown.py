"""Read what a call says only for people (branch, author, link, …). Nothing is refused: it is cut, or left out."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from unicodedata import category

from django.utils.dateparse import parse_datetime

from explain.facts import Fact

# Control characters but tab and line ends, and halves of surrogate pairs: PostgreSQL, terminals or UTF-8 take none.
UNREADABLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# A time far from now comes from a clock that is not set, and the extremes of datetime overflow in other time zones.
YEARS = (2000, 2100)


@dataclass(frozen=True, slots=True)
class Shown:
    """The value to show, and what was changed about it."""

    value: Any
    note: Fact | None = None


# Reads a field, given its name and what the call says.
Reader = Callable[[str, Any], Shown]


def visible(text: str) -> bool:
    """Return whether there is anything to see of a text; joiners, marks and spaces alone are nothing."""
    return any(category(character)[0] in "LNPS" for character in text)


def text(most: int) -> Reader:
    """Read a text without the spaces around it, at most so many characters; numbers count as texts."""

    def read(field: str, given: Any) -> Shown:
        if isinstance(given, bool) or not isinstance(given, (str, int, float)):
            return Shown("", Fact("shown.no_text", {"field": field}))
        found = str(given).strip()
        if UNREADABLE.search(found):
            return Shown("", Fact("shown.unreadable", {"field": field}))
        if not visible(found):
            return Shown("")
        note = Fact("shown.cut", {"field": field, "most": most}) if len(found) > most else None
        return Shown(found[:most].rstrip(), note)

    return read


def link(most: int) -> Reader:
    """Read a link: `javascript:` must not become one."""
    as_text = text(most)

    def read(field: str, given: Any) -> Shown:
        shown = as_text(field, given)
        if not shown.value or shown.value.lower().startswith(("http://", "https://")):
            return shown
        return Shown("", Fact("shown.no_link", {"field": field}))

    return read


def moment(field: str, given: Any) -> Shown:
    """Read a time, in UTC: one without an offset is there already, and PostgreSQL does not read every offset."""
    first, last = YEARS
    try:
        found = parse_datetime(given.strip())
    except (AttributeError, ValueError):
        found = None
    if found is None or not first <= found.year <= last:
        return Shown(None, Fact("shown.no_time", {"field": field, "first": str(first), "last": str(last)}))
    return Shown(found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC))
