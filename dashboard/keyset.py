"""Pages of long lists, found by where the last one ended and not by counting rows: the hundredth page costs what the
first does, and rows that come in meanwhile neither repeat nor hide others."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db.models import BigIntegerField, BooleanField, F, Func, Q, QuerySet, TextField, Value

# Longer is no cursor of ours.
LONGEST = 300
LARGEST_ID = 2**63 - 1

# Of a type that changes nothing in what other parts have in its column.
NOTHING = Value(None, output_field=TextField())

Key = int | float | datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind this row, or before it. part: which part of the list it stands in; key: what it is
    ordered by there, None where that is only its id."""

    part: int
    key: Key
    pk: int
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Rows in one order: by `key`, "" for none, and then by id. number: as Place.part names it; pk: the column of the
    id, of the same table as the key, for the sake of an index on both."""

    number: int
    rows: QuerySet[Any]
    key: str = ""
    pk: str = "pk"

    def read(self, *, behind: Place | None, downward: bool, limit: int) -> QuerySet[Any]:
        """At most so many of them, as (part, key, id); behind: the place to go on from, where that is in here."""
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
    """The ids of one page, in order, and where the pages beside it begin; None: there is none."""

    ids: list[int]
    newer: Place | None
    older: Place | None


class Together(Func):
    """Several as one value: (a, b)."""

    template = "(%(expressions)s)"
    output_field = BooleanField()


class Beyond(Func):
    """(a, b) < (x, y): compared as one value, so that an index on (a, b) finds the place at once."""

    template = "%(expressions)s"
    output_field = BooleanField()

    def __init__(self, names: Sequence[str], values: Sequence[Any], operator: str) -> None:
        others = [value if hasattr(value, "resolve_expression") else Value(value) for value in values]
        super().__init__(Together(*(F(name) for name in names)), Together(*others), arg_joiner=f" {operator} ")


class OneOf(Func):
    """Whether the first is one of the second, an array."""

    template = "%(expressions)s)"
    arg_joiner = " = ANY("
    output_field = BooleanField()


def one_of(name: str, ids: Sequence[int]) -> Q:
    """Rows whose column is one of the ids, told as one array: thousands of them cost little to write and to read."""
    return Q(OneOf(F(name), Value(list(ids), output_field=ArrayField(BigIntegerField()))))


def read(parts: Sequence[Part], place: Place | None, size: int, *, downward: bool) -> Slice:
    """One page of the parts, one after the other, each from high to low where `downward`. One query."""
    if place is not None and place.part not in [part.number for part in parts]:
        place = None
    backward = place is not None and place.backward
    ahead = list(reversed(parts)) if backward else list(parts)
    while place is not None and ahead[0].number != place.part:
        ahead.pop(0)
    falling = downward is not backward
    pages = [part.read(behind=place, downward=falling, limit=size + 1) for part in ahead]
    found = list(pages[0].union(*pages[1:], all=True) if len(pages) > 1 else pages[0])
    # In which order the database puts them one after the other, nobody promises.
    rows = [row for part in ahead for row in in_order(found, part, falling=falling)]
    return slice_of(rows, place, size)


def in_order(rows: Sequence[tuple[Any, ...]], part: Part, *, falling: bool) -> list[tuple[Any, ...]]:
    """Those of the part, as the part orders them."""
    return sorted(
        (row for row in rows if row[0] == part.number), key=lambda row: row[1:] if part.key else row[2], reverse=falling
    )


def slice_of(rows: Sequence[tuple[Any, ...]], place: Place | None, size: int) -> Slice:
    """The page of rows that were read from the place on, of which there may be more than fit."""
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
    """The place as a cursor for addresses, "" for None; order: the list's, in which alone it means something."""
    if place is None:
        return ""
    key = place.key.isoformat() if isinstance(place.key, datetime) else place.key
    text = json.dumps([order, place.part, key, place.pk, place.backward], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str, order: str, kind: type | None) -> Place | None:
    """The place that a cursor names; None, the beginning, for whatever is no cursor of this order.

    kind: what the order's keys are, None for ids only.
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
    """The key as the database compares it. Raises ValueError for another kind of value, OverflowError for a time that
    UTC has not."""
    if value is None:
        return None
    if kind is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            # In UTC, as we wrote it: at the ends of what a datetime can hold, some zones lead beyond them.
            return moment.astimezone(UTC)
    if kind is int and _is_id(value):
        return int(value)
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    raise ValueError("no key of this order")
