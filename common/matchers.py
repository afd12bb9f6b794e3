"""Label matchers of PromQL, as in `version="1.2", env=~"prod|live"`: read, checked and written again. Pure.

What comes from outside is never put into a query as it was sent: it is read, and what was understood is written.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

MOST_MATCHERS = 10
LONGEST_VALUE = 500

_MATCHER = re.compile(
    r"""\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<op>=~|!~|!=|=)\s*
    (?P<value>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)\s*(?:,|\Z)""",
    re.VERBOSE,
)
_ESCAPED = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t"}
_OPPOSITES = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}


class NoMatchers(ValueError):
    """Not label matchers; str() says why."""


class Matcher(NamedTuple):
    """One label matcher. op: =, !=, =~ or !~."""

    label: str
    op: str
    value: str

    def __str__(self) -> str:
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return f'{self.label}{self.op}"{value}"'

    @property
    def opposite(self) -> "Matcher":
        """Return the matcher of all other series."""
        return self._replace(op=_OPPOSITES[self.op])


def matchers_of(text: str) -> tuple[Matcher, ...]:
    """Return the matchers of a text, with or without braces around them, none of an empty one. Raises NoMatchers."""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1].strip()
    found: list[Matcher] = []
    position = 0
    while position < len(text):
        match = _MATCHER.match(text, position)
        if match is None:
            raise NoMatchers(f"There is no label matcher at {text[position : position + 40]!r}.")
        found.append(Matcher(match["label"], match["op"], _unquoted(match["value"])))
        position = match.end()
    if len(found) > MOST_MATCHERS:
        raise NoMatchers(f"These are {len(found)} label matchers; at most {MOST_MATCHERS} are possible.")
    return tuple(found)


def written(matchers: Sequence[Matcher]) -> str:
    """Return the matchers as PromQL has them between braces."""
    return ", ".join(map(str, matchers))


def _unquoted(quoted: str) -> str:
    """Return the text of a string of PromQL. Raises NoMatchers."""
    text = quoted[1:-1]
    if not quoted.startswith("`"):
        text = re.sub(r"\\(.)", _unescaped, text)
    if len(text) > LONGEST_VALUE:
        raise NoMatchers(f"A value has {len(text)} characters; at most {LONGEST_VALUE} are possible.")
    if any((one < " " and one not in "\n\t") or "\ud800" <= one <= "\udfff" for one in text):
        raise NoMatchers("A value contains control characters, or half of a surrogate pair.")
    return text


def _unescaped(match: re.Match[str]) -> str:
    if match[1] not in _ESCAPED:
        raise NoMatchers(f"There is no escape {match[0]} in strings of PromQL; a backslash is written \\\\.")
    return _ESCAPED[match[1]]


_STRING = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)"""
# Strings and comments, in which braces mean nothing, or what is between braces.
_PARTS = re.compile(rf"""({_STRING}|\#[^\n]*)|\{{((?:[^{{}}"'`]|{_STRING})*)\}}""")


def narrowed(query: str, matchers: Sequence[Matcher]) -> str | None:
    """Return the query with these matchers added to all of its selectors in braces; None where it has none.

    A matcher that names values takes the place of those of the same label: of the old version's the new version's.
    Metrics without braces, such as the memory of all machines, stay as they are.
    """
    replaced = {matcher.label for matcher in matchers if matcher.op in ("=", "=~")}
    count = 0

    def added(part: re.Match[str]) -> str:
        nonlocal count
        if part[1] is not None:
            return part[0]
        count += 1
        kept = [one for one in matchers_of(part[2]) if one.label not in replaced]
        return "{" + written([*kept, *matchers]) + "}"

    try:
        found = _PARTS.sub(added, query)
    except NoMatchers:
        return None
    return found if count else None
