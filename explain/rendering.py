"""Facts as sentences."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from string import Formatter
from typing import Any

from explain import units  # noqa: F401  (registers them)
from explain.catalogue import TEMPLATES, UNITS
from explain.catalogue import gettext_noop as _
from explain.facts import Fact
from explain.languages import ENGLISH, Language, Untranslated, language

_JOINED = {"and": _("{several} and {last}"), "list": _("{before}, {after}"), "clauses": _("{before}; {after}")}
_UNKNOWN = _("unknown")


def render(fact: Fact, code: str = "en") -> str:
    """The fact in the language of this code.

    English where its catalogue lacks any part of it, because half a sentence of each would be worse; the fact's code
    where no template is registered. Never raises on what was stored.
    """
    try:
        return _render(fact, language(code))
    except Untranslated:
        return _render(fact, ENGLISH)


def quantity(value: float | None, unit: str, code: str = "en") -> str:
    """A number with its unit, by the name that placeholders use."""
    try:
        return _value(value, unit, {}, language(code))
    except Untranslated:
        return _value(value, unit, {}, ENGLISH)


def _render(fact: Fact, to: Language) -> str:
    template = TEMPLATES.get(fact.code)
    if template is None:
        return fact.code
    if isinstance(template, str):
        text = to.text(template)
    else:
        count = fact.params.get(template.by)
        text = to.plural(template.one, template.many, count if isinstance(count, int) else 2)
    return "".join(
        part if name is None else part + _value(fact.params.get(name), spec, fact.params, to)
        for part, name, spec in _parts(text)
    )


# A verdict fills a hundred templates out of some hundred: taking them apart each time would double its cost.
@lru_cache(maxsize=2000)
def _parts(template: str) -> tuple[tuple[str, str | None, str], ...]:
    """Triples of a text, the placeholder after it (None: there is none) and how its value is written."""
    return tuple((text, name, spec or "") for text, name, spec, _conversion in Formatter().parse(template))


def _value(value: Any, spec: str, params: Mapping[str, Any], to: Language) -> str:
    if spec.startswith("{"):
        # Units only: a stored format could ask for a million decimals.
        spec = next((name for name in UNITS if name == params.get(spec[1:-1])), "")
    if value is None:
        return to.text(_UNKNOWN)
    if isinstance(value, Fact):
        return _render(value, to)
    if isinstance(value, list | tuple):
        return _joined([_render(item, to) for item in value], spec, to)
    if isinstance(value, str):
        named = f"{spec}.{value}"
        return _render(Fact(named), to) if named in TEMPLATES else value
    try:
        return UNITS[spec](value, to) if spec in UNITS else to.digits(format(value, spec if "." in spec else ""))
    except (OverflowError, ValueError):
        # Larger than any number that was measured: not from us.
        return to.text(_UNKNOWN)


def _joined(texts: Sequence[str], how: str, to: Language) -> str:
    """ "a, b and c", "a, b, c" or "a; b; c"; "" for none."""
    if not texts:
        return ""
    if how == "and" and len(texts) > 1:
        return to.text(_JOINED["and"]).format(several=_joined(texts[:-1], "list", to), last=texts[-1])
    template = to.text(_JOINED["clauses" if how == "clauses" else "list"])
    joined, *rest = texts
    for text in rest:
        joined = template.format(before=joined, after=text)
    return joined
