"""The sources of a seqpulse.toml that comes with a trigger call. What a source is, `metrics` knows, and announces."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from explain.facts import Fact
from projects.models import Environment


class InvalidSources(ValueError):
    """Not a list of sources. errors: what is wrong, by the path of the field. str() is for logs."""

    def __init__(self, errors: Mapping[str, Fact]) -> None:
        super().__init__("; ".join(f"{path}: {fact.code}" for path, fact in errors.items()))
        self.errors = errors


Apply = Callable[[Environment, Any], Sequence[Fact]]
_appliers: list[Apply] = []


def announce_sources(apply: Apply) -> None:
    """Announce what makes the sources of an environment those of a list, and returns notes for the caller.

    It runs in the transaction of the new deployment, and raises InvalidSources.
    """
    if apply not in _appliers:
        _appliers.append(apply)


def apply_sources(environment: Environment, data: Any) -> list[Fact]:
    """Make the environment's sources those of the file, None: it has none. Raises InvalidSources."""
    return [] if data is None else [note for apply in _appliers for note in apply(environment, data)]
