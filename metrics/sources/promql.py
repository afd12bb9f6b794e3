"""The part of PromQL that our templates are written in, computed from the series of scrapes. Pure.

Every series stands in an aggregation that leaves a number, or one per bucket:
`1000 * histogram_quantile(0.95, sum by (le) (rate(name_bucket{a="b"}[5m])))`. The range is not read: it is the time
between two scrapes.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

# A number; None where there is none. Of buckets: by their upper bound.
Value = float | None
Buckets = Mapping[float, float]

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:.]*)|(?P<text>\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<range>\[[^\]]*\])|(?P<sign>=~|!~|!=|[-+*/(){},=]))"
)
AGGREGATIONS = ("sum", "avg", "max", "min")


class NotPromQL(ValueError):
    """Not in the part of PromQL that is read here."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on a label. op: =, !=, =~ or !~."""

    label: str
    op: str
    value: str

    def accepts(self, value: str) -> bool:
        """Return whether a label may have this value, "" where the series lacks it."""
        same = matches(self.value, value) if "~" in self.op else self.value == value
        return same if self.op.startswith("=") else not same


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def matches(pattern: str, value: str) -> bool:
    return _pattern(pattern).fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Selection:
    """An aggregation of series, or of their rates per second. by_bucket: one number per bucket."""

    name: str
    matchers: tuple[Matcher, ...]
    aggregation: str
    is_rate: bool
    by_bucket: bool = False


# Returns what a selection gives: a number, or numbers by bucket.
Select = Callable[[Selection], Value | Buckets]
Compute = Callable[[Select], Value]


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query: its selections, and its value for what they give."""

    selections: tuple[Selection, ...]
    value: Compute


@lru_cache(maxsize=4096)
def parsed(text: str) -> Query:
    """Parse a query. Raises NotPromQL."""
    parser = _Parser(text)
    compute = parser.alternatives()
    if parser.peek() is not None:
        raise NotPromQL(text)
    return Query(tuple(dict.fromkeys(parser.selections)), compute)


def quoted(text: str) -> str:
    """Return a text as PromQL quotes it."""
    return json.dumps(text, ensure_ascii=False)


def quantile(share: float, buckets: Buckets) -> Value:
    """Return a quantile of the counts of buckets, as Prometheus estimates it: linear within its bucket.

    None without observations, or without the bucket of all (+Inf).
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or bounds[-1] != math.inf:
        return None
    counts: list[float] = []
    for bound in bounds:  # counts of buckets that were read at different times may fall
        counts.append(max(buckets[bound], counts[-1] if counts else 0.0))
    if counts[-1] <= 0:
        return None
    rank = share * counts[-1]
    place = next(number for number, count in enumerate(counts) if count >= rank)
    if place == len(bounds) - 1:
        return bounds[-2]
    if place == 0 and bounds[0] <= 0:
        return bounds[0]
    low, below = (bounds[place - 1], counts[place - 1]) if place else (0.0, 0.0)
    return low + (bounds[place] - low) * (rank - below) / (counts[place] - below) if counts[place] > below else low


class _Parser:
    """Recursive descent: alternatives (or) of sums of products of aggregations, numbers and functions."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text.rstrip()):
            match = TOKEN.match(text, place)
            if match is None:
                raise NotPromQL(text)
            self.tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            place = match.end()
        self.place = 0
        self.selections: list[Selection] = []

    def peek(self) -> str | None:
        return self.tokens[self.place][1] if self.place < len(self.tokens) else None

    def next(self, *expected: str, kind: str = "") -> str:
        found = self.tokens[self.place] if self.place < len(self.tokens) else ("", "")
        if (expected and found[1] not in expected) or (kind and found[0] != kind):
            raise NotPromQL(self.text)
        self.place += 1
        return found[1]

    def maybe(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self.place += 1
        return True

    def alternatives(self) -> Compute:
        options = [self.sum()]
        while self.maybe("or"):
            options.append(self.sum())
        if len(options) == 1:
            return options[0]
        return lambda select: next((value for one in options if (value := one(select)) is not None), None)

    def sum(self) -> Compute:
        found = self.product()
        while self.peek() in ("+", "-"):
            found = operation(self.next(), found, self.product())
        return found

    def product(self) -> Compute:
        found = self.factor()
        while self.peek() in ("*", "/"):
            found = operation(self.next(), found, self.factor())
        return found

    def factor(self) -> Compute:
        ahead = self.peek()
        if self.place < len(self.tokens) and self.tokens[self.place][0] == "number":
            number = float(self.next())
            return lambda _select: number
        if ahead in AGGREGATIONS:
            return self.number_of(self.aggregation())
        if self.maybe("histogram_quantile"):
            return self.histogram_quantile()
        if self.maybe("clamp_max"):
            self.next("(")
            inner = self.alternatives()
            self.next(",")
            most = float(self.next(kind="number"))
            self.next(")")
            return lambda select: None if (value := inner(select)) is None else min(value, most)
        if ahead in ("scalar", "vector", "("):
            if ahead != "(":
                self.next()
            self.next("(")
            inner = self.alternatives()
            self.next(")")
            return inner
        raise NotPromQL(self.text)

    def number_of(self, selection: Selection) -> Compute:
        def compute(select: Select) -> Value:
            value = select(selection)
            return value if isinstance(value, float) else None

        if selection.by_bucket:
            raise NotPromQL(self.text)
        return compute

    def histogram_quantile(self) -> Compute:
        self.next("(")
        share = float(self.next(kind="number"))
        self.next(",")
        selection = self.aggregation()
        self.next(")")
        if not selection.by_bucket:
            raise NotPromQL(self.text)

        def compute(select: Select) -> Value:
            buckets = select(selection)
            return quantile(share, buckets) if isinstance(buckets, Mapping) else None

        return compute

    def aggregation(self) -> Selection:
        aggregation = self.next(*AGGREGATIONS)
        by_bucket = self.maybe("by")
        if by_bucket:
            for token in ("(", "le", ")"):
                self.next(token)
        self.next("(")
        is_rate = self.maybe("rate")
        if is_rate:
            self.next("(")
        name = self.next(kind="name")
        matchers = tuple(self.matchers()) if self.maybe("{") else ()
        if is_rate:
            self.next(kind="range")
            self.next(")")
        self.next(")")
        found = Selection(name, matchers, aggregation, is_rate, by_bucket)
        self.selections.append(found)
        return found

    def matchers(self) -> list[Matcher]:
        found = []
        while not self.maybe("}"):
            if self.maybe(","):
                continue
            label = self.next(kind="name")
            op = self.next("=", "!=", "=~", "!~")
            value = json.loads(self.next(kind="text"))
            found.append(Matcher(label, op, value))
            if "~" in op:
                try:
                    _pattern(value)
                except re.error:
                    raise NotPromQL(self.text) from None
        return found


def operation(sign: str, left: Compute, right: Compute) -> Compute:
    """Return the operation of two computations: without a value where one has none, and for a division by 0."""

    def compute(select: Select) -> Value:
        a, b = left(select), right(select)
        if a is None or b is None or (sign == "/" and b == 0):
            return None
        return a / b if sign == "/" else a * b if sign == "*" else a + b if sign == "+" else a - b

    return compute
