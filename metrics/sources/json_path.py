"""Find one value in a JSON document: the part of JSONPath (RFC 9535) that names a single place. Pure.

`$.build.version`, `$.items[0].name`, `$["odd key"]`, `$.items[-1]`.
"""

import re
from collections.abc import Sequence
from typing import Any

from explain.errors import ExplainedError

LONGEST = 200
MOST_PARTS = 30
# One part: .name, ['name'], ["name"] or [number].
_PART = re.compile(
    r"""\.(?P<name>[^\s.\[\]'"*?@()$:,]+)|\[(?P<index>-?[0-9]{1,6})\]|\[(?P<quote>['"])(?P<key>[^'"\\]*)(?P=quote)\]"""
)

Path = Sequence[str | int]


class PathError(ExplainedError, ValueError):
    """A text that is no path to a single value."""


class Missing(LookupError):
    """The document has nothing at this place."""


def parse_path(text: str) -> Path:
    """Return the names and indexes of a path. Raises PathError that shows where it cannot be read."""
    if not text.startswith("$"):
        raise PathError("json_path.begin", path=text[:LONGEST])
    parts: list[str | int] = []
    place = 1
    while place < len(text):
        found = _PART.match(text, place)
        if found is None:
            raise PathError("json_path.part", path=text[:LONGEST], rest=text[place : place + 20])
        index = found["index"]
        parts.append(int(index) if index is not None else found["name"] or found["key"] or "")
        place = found.end()
    if len(parts) > MOST_PARTS:
        raise PathError("json_path.long", most=MOST_PARTS)
    return tuple(parts)


def value_at(document: Any, path: Sequence[Any]) -> Any:
    """Return the value at a path. Raises Missing."""
    for part in path:
        if not isinstance(document, list if isinstance(part, int) else dict):
            raise Missing
        try:
            document = document[part]
        except LookupError:
            raise Missing from None
    return document
