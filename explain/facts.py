"""A statement as a code with typed parameters. Its sentences are made by `explain.rendering`. Pure, no dependencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Param: TypeAlias = "str | int | float | bool | Fact | Sequence[Fact] | None"

# No statement is nested as deep; what is stored may be anything.
MAX_DEPTH = 20


class NotAFact(ValueError):
    """The stored value does not read as a fact."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A code of the catalogue and what its template is filled with.

    params: measured numbers as they are (rounding and units are the template's), names and codes as text, and other
    facts, alone or as a list.
    """

    code: str
    params: Mapping[str, Param] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON values only; `from_json` reads them back."""
        return {"code": self.code, "params": {name: _to_json(value) for name, value in self.params.items()}}

    @classmethod
    def from_json(cls, stored: Any) -> Fact:
        """Read what `to_json` wrote. Raises NotAFact for everything else."""
        return _fact(stored, MAX_DEPTH)


def _to_json(value: Param) -> Any:
    if isinstance(value, Fact):
        return value.to_json()
    return [fact.to_json() for fact in value] if isinstance(value, list | tuple) else value


def _fact(stored: Any, depth: int) -> Fact:
    if not isinstance(stored, Mapping) or not depth:
        raise NotAFact(f"expected a code with parameters, got {type(stored).__name__}")
    code, params = stored.get("code"), stored.get("params", {})
    if not isinstance(code, str) or not isinstance(params, Mapping):
        raise NotAFact("expected a code with parameters")
    return Fact(code, {str(name): _param(value, depth) for name, value in params.items()})


def _param(value: Any, depth: int) -> Param:
    if isinstance(value, list | tuple):
        return [_fact(item, depth - 1) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return _fact(value, depth - 1)
