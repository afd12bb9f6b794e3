"""Keyset pagination: a page starts after the last row of the previous one.

Every page costs the same, and new rows neither repeat nor hide others.
"""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.db.models import BooleanField, F, Func, Q, QuerySet, TextField, Value

from common.arrays import array
from common.listing import LARGEST_ID

PAGE_SIZE = 25
# Counting stops here, so that its cost does not grow with the table.
COUNTED = 1000
# Longer text is not one of our cursors.
LONGEST = 300

# Of a type that is compatible with the column of other parts.
NOTHING = Value(None, output_field=TextField())

Key = int | float | datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """The row after or before which a page starts. part: part of the list; key: its sort key, None if sorted by id."""

    part: int
    key: Key
    pk: int
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Rows in one order: by `key`, "" for none, then by id.

    number: its Place.part; pk: column of the id, in the same table as the key, so that an index covers both.
    """

    number: int
    rows: QuerySet[Any]
    key: str = ""
    pk: str = "pk"

    def read(self, *, behind: Place | None, downward: bool, limit: int) -> QuerySet[Any]:
        """Return at most `limit` rows as (part, key, id). behind: the place to continue from, if in this part."""
        names = [self.key, self.pk] if self.key else [self.pk]
        rows = self.rows
        if behind is not None and behind.part == self.number and (behind.key is not None or not self.key):
            values = [behind.key, behind.pk] if self.key else [behind.pk]
            rows = rows.filter(Beyond(names, values, "<" if downward else ">"))
        rows = rows.order_by(*(f"-{name}" if downward else name for name in names))
        key: Any = F(self.key) if self.key else NOTHING
        return rows.values_list(Value(self.number), key, "pk")[:limit]


@dataclass(frozen=True, slots=True)
class Slice:
    """Ids of one page in order, and the starts of the adjacent pages; None: no such page."""

    ids: list[int]
    newer: Place | None
    older: Place | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list.

    newer, older: cursors of the adjacent pages, "" for none; total: number of rows of the list, at most COUNTED + 1.
    """

    rows: list[Any]
    newer: str
    older: str
    total: int


class Together(Func):
    """Combine columns to a row value: (a, b)."""

    template = "(%(expressions)s)"
    output_field = BooleanField()


class Beyond(Func):
    """Compare row values, (a, b) < (x, y), so that an index on (a, b) is used."""

    template = "%(expressions)s"
    output_field = BooleanField()

    def __init__(self, names: Sequence[str], values: Sequence[Any], operator: str) -> None:
        others = [value if hasattr(value, "resolve_expression") else Value(value) for value in values]
        super().__init__(Together(*(F(name) for name in names)), Together(*others), arg_joiner=f" {operator} ")


class OneOf(Func):
    """Test whether an id is in an array, which is written as text."""

    template = "%(expressions)s::bigint[])"
    arg_joiner = " = ANY("
    output_field = BooleanField()


def one_of(name: str, ids: Sequence[int]) -> Q:
    """Match rows whose column is one of the ids, passed as one array, which is fast for thousands."""
    return Q(OneOf(F(name), Value(array(ids), output_field=TextField())))


def few_or_all(rows: QuerySet[Any]) -> tuple[QuerySet[Any], int]:
    """Return the rows and their number, at most COUNTED + 1. One query.

    A small result is selected by ids afterwards: filtering again in each order, PostgreSQL might read a whole index for
    a few rows.
    """
    ids = list(rows.order_by().values_list("pk", flat=True)[: COUNTED + 1])
    return (rows if len(ids) > COUNTED else rows.model._default_manager.filter(one_of("pk", ids))), len(ids)


def load(rows: QuerySet[Any], ids: Sequence[int]) -> list[Any]:
    """Load the rows with these ids, in this order. One query."""
    found = rows.in_bulk(ids)
    return [found[pk] for pk in ids if pk in found]


def read(parts: Sequence[Part], place: Place | None, size: int, *, downward: bool) -> Slice:
    """Read one page of consecutive parts, each descending if `downward`. One query."""
    if place is not None and place.part not in [part.number for part in parts]:
        place = None
    backward = place is not None and place.backward
    ahead = list(reversed(parts)) if backward else list(parts)
    while place is not None and ahead[0].number != place.part:
        ahead.pop(0)
    falling = downward is not backward
    pages = [part.read(behind=place, downward=falling, limit=size + 1) for part in ahead]
    found = list(pages[0].union(*pages[1:], all=True) if len(pages) > 1 else pages[0])
    # UNION ALL does not guarantee the order of its parts.
    rows = [row for part in ahead for row in in_order(found, part, falling=falling)]
    return slice_of(rows, place, size)


def in_order(rows: Sequence[tuple[Any, ...]], part: Part, *, falling: bool) -> list[tuple[Any, ...]]:
    """Return the rows of the part in its order."""
    return sorted(
        (row for row in rows if row[0] == part.number), key=lambda row: row[1:] if part.key else row[2], reverse=falling
    )


def slice_of(rows: Sequence[tuple[Any, ...]], place: Place | None, size: int) -> Slice:
    """Build the page from the rows read from the place on, of which there may be more than fit."""
    backward = place is not None and place.backward
    more, shown = len(rows) > size, list(rows[:size])
    if backward:
        shown.reverse()
    if not shown:
        return Slice([], None, None)
    newer = more if backward else place is not None
    older = True if backward else more
    return Slice(
        ids=[pk for _, _, pk in shown],
        newer=replace(Place(*shown[0]), backward=True) if newer else None,
        older=Place(*shown[-1]) if older else None,
    )


def written(place: Place | None, order: str) -> str:
    """Write the place as a cursor for URLs, "" for None. order: of the list; a cursor is valid in its order only."""
    if place is None:
        return ""
    key = place.key.isoformat() if isinstance(place.key, datetime) else place.key
    text = json.dumps([order, place.part, key, place.pk, place.backward], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str, order: str, kind: type | None) -> Place | None:
    """Parse a cursor; None (the beginning) if it is not a cursor of this order.

    kind: type of the keys, None for ids only.
    """
    if not cursor or len(cursor) > LONGEST:
        return None
    try:
        known, part, key, pk, backward = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if known != order or not _is_id(part) or not _is_id(pk) or not isinstance(backward, bool):
            return None
        return Place(part, _key(key, kind), pk, backward)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_ID


def _key(value: Any, kind: type | None) -> Key:
    """Convert the key for the database.

    Raises: ValueError for another type, OverflowError for a time outside the range of UTC.
    """
    if value is None:
        return None
    if kind is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            # In UTC, as written: near the limits of datetime other zones would exceed them.
            return moment.astimezone(UTC)
    if kind is int and _is_id(value):
        return int(value)
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    raise ValueError("no key of this order")
