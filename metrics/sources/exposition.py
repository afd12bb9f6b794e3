"""Read series from Prometheus' text format and OpenMetrics. Pure.

Two passes, because an exporter may answer megabytes of which a few families are needed: one over the lines, and one
over those of the needed families. The library's parsers take a second for 2 MB, this takes some ms.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, isnan

from explain.errors import ExplainedError

# None of these may look at a part of a text more than some times, however the text was made: a line may have megabytes,
# and nothing else runs meanwhile. Hence the possessive quantifiers, and the signs that a label cannot follow.
# Of a series: {labels} value [timestamp] [# exemplar]. Texts in quotes may hold any of these signs.
REST = re.compile(rb'\s*+(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\})?+\s*+([^\s#]++)(?:\s+(-?[0-9.eE+]+))?\s*(?:#.*)?')
# Of {"name", labels}: a name in quotes, because it has other characters.
QUOTED = re.compile(rb'\{\s*+("(?:[^"\\]|\\.)*+")\s*+(?:,|(?=\}))')
LABEL = re.compile(
    rb'((?<![a-zA-Z0-9_:.])[a-zA-Z_:][a-zA-Z0-9_:.]*+|(?<!\\)"(?:[^"\\]|\\.)*+")\s*+=\s*+"((?:[^"\\]|\\.)*+)"\s*+(?:,|$)'
)
ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# Behind labels, and in front of the name of one.
LABELS_END = (b'"', b",", b"{", b" ")
LABEL_BEGINS = (b",", b"{")
# The names of the series of a family, by its type.
ENDINGS = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("", "_count", "_sum"), "counter": ("", "_total")}


class InvalidExposition(ExplainedError, ValueError):
    """A text that Prometheus would not read either."""


# A series of one scrape: its labels as written, without the bound of a bucket; that, as written, or None; its value.
Series = tuple[bytes, bytes | None, float]


@dataclass(frozen=True, slots=True)
class Exposition:
    """What one scrape gave. rests: what stands behind the name in the lines of each name; types: by family."""

    rests: Mapping[str, list[bytes]]
    types: Mapping[str, str]

    @property
    def names(self) -> set[str]:
        """Return the names that have series, and those that would have some if anything had been counted."""
        found = set(self.rests)
        for family, kind in self.types.items():
            found.update(family + ending for ending in ENDINGS.get(kind, ()))
        return found

    def series(self, name: str) -> Iterator[Series]:
        """Yield the series of a name that have a value. Raises InvalidExposition."""
        for rest in self.rests.get(name, ()):
            labels, brace, text = rest.rpartition(b"}")
            try:
                # Behind the last brace there is only the value, unless there is a time or an exemplar.
                if brace and (b"#" in rest or labels[:1] != b"{" or labels[-1:] not in LABELS_END):
                    raise ValueError
                value, labels = float(text), labels[1:]
            except ValueError:
                labels, value = split(name, rest)
            if isnan(value):
                continue
            bound = None
            if b"le" in labels:
                # Most libraries write the bound of a bucket last.
                before, mark, bound_text = labels.rpartition(b'le="')
                if mark and before[-1:] in b"," and bound_text.find(b'"') == len(bound_text) - 1 >= 0:
                    labels, bound = before[:-1], bound_text[:-1]
                else:
                    labels, bound = without_bound(labels)
            yield labels, bound, value

    def sums_by_bound(self, name: str) -> Mapping[bytes | None, float] | None:
        """Return the sums of the buckets of a name, fast; None where a line has another form than most libraries write:
        the bound last, and nothing behind the value."""
        sums: dict[bytes | None, float] = {}
        for rest in self.rests.get(name, ()):
            before, _mark, after = rest.rpartition(b'le="')
            bound, brace, text = after.partition(b'"} ')
            if not brace or not bound or b'"' in bound or before[-1:] not in LABEL_BEGINS:
                return None
            try:
                sums[bound] = sums.get(bound, 0.0) + float(text)
            except ValueError:
                return None
        return sums if all(map(isfinite, sums.values())) else None


def split(name: str, rest: bytes) -> tuple[bytes, float]:
    """Return the labels, as written, and the value of a line of any form. Raises InvalidExposition."""
    match = REST.fullmatch(rest)
    try:
        if match is not None:
            return match[1] or b"", float(match[2])
    except ValueError:
        pass
    raise InvalidExposition("exposition_broken", name=name[:100], text=rest[:60].decode("utf-8", "replace").strip())


def read(body: bytes) -> Exposition:
    """Split a body into the lines of each name."""
    rests: dict[bytes, list[bytes]] = {}
    types: dict[str, str] = {}
    last, lines = b"", list[bytes]()
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        brace = line.find(b"{")
        name = line[:brace] if brace > 0 else line.partition(b" ")[0]
        if name != last or brace == 0 or not name:
            if line[:1] == b"#":
                if line.startswith(b"# TYPE "):
                    parts = line.split()
                    if len(parts) == 4:
                        types[unquoted(parts[2])] = parts[3].decode("ascii", "replace")
                continue
            if brace == 0 or not name or name[-1:].isspace() or b"\t" in name or b" " in name:
                name, rest = unusual(line)
                if name:
                    rests.setdefault(name, []).append(rest)
                continue
            last = name
            lines = rests.setdefault(name, [])
        lines.append(line[len(name) :])
    return Exposition({unquoted(name): lines for name, lines in rests.items()}, types)


def unusual(line: bytes) -> tuple[bytes, bytes]:
    """Return the name of a line that begins with space, or has its name in quotes, and what follows it."""
    line = line.strip()
    match = QUOTED.match(line)
    if match is not None:
        return match[1], b"{" + line[match.end() :]
    name = re.split(rb"[\s{]", line, maxsplit=1)[0]
    return (b"" if name.startswith(b"#") else name), line[len(name) :]


@lru_cache(maxsize=65536)
def labels_of(text: bytes) -> Mapping[str, str]:
    """Return labels by name. What is no label is left out."""
    return {unquoted(name): unescaped(value) for name, value in LABEL.findall(text)}


def without_bound(text: bytes) -> tuple[bytes, bytes | None]:
    """Return labels without le, and its value."""
    pairs: list[tuple[bytes, bytes]] = LABEL.findall(text)
    bound = next((value for name, value in pairs if name == b"le"), None)
    if bound is None:
        return text, None
    return b",".join(name + b'="' + value + b'"' for name, value in pairs if name != b"le"), bound


def unquoted(name: bytes) -> str:
    return unescaped(name[1:-1]) if name.startswith(b'"') else name.decode("utf-8", "replace")


def unescaped(text: bytes) -> str:
    found = text.decode("utf-8", "replace")
    return ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], found) if "\\" in found else found
