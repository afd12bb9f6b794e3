"""Templates by code. Each app registers its own in `texts.py`, which its AppConfig imports in ready().

A placeholder may say how its value is written:

    {before:ms}         a unit of explain/units.py, or one that the app registers
    {ratio:.1f}         a number format of Python, with the separators of the language
    {reasons:and}       how a list is joined: and, list (commas), clauses (semicolons)
    {metric:metric}     the text registered as "metric.<value>", else the value
    {limit:{metric}}    the unit that the parameter `metric` names

Without one, text and whole numbers are written as they are, and facts are rendered.

Translators get the templates by `make messages`, which looks for `_(…)` and `Plural(…)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from explain.languages import Language

T = TypeVar("T")
Unit = Callable[[float, "Language"], str]


@dataclass(frozen=True, slots=True)
class Plural:
    """A template for one and one for several. by: the parameter that counts."""

    by: str
    one: str
    many: str


TEMPLATES: dict[str, str | Plural] = {}
UNITS: dict[str, Unit] = {}


def gettext_noop(template: str) -> str:
    """Mark a template for translators; imported as `_`."""
    return template


def register(templates: Mapping[str, str | Plural], units: Mapping[str, Unit] | None = None) -> None:
    """Add an app's templates and units. Raises ValueError where a code has another text already."""
    _add(TEMPLATES, templates)
    _add(UNITS, units or {})


def _add(known: dict[str, T], new: Mapping[str, T]) -> None:
    clash = sorted(code for code, entry in new.items() if known.get(code, entry) != entry)
    if clash:
        raise ValueError(f"registered twice: {', '.join(clash)}")
    known.update(new)
