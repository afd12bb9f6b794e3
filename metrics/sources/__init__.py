"""Kinds of sources: what an environment's samples come from."""

from typing import Any

from metrics.sources.base import SourceKind
from metrics.sources.endpoint import EndpointKind
from metrics.sources.prometheus import PrometheusKind

SOURCE_KINDS: tuple[SourceKind[Any], ...] = (EndpointKind(), PrometheusKind())
_BY_NAME = {kind.name: kind for kind in SOURCE_KINDS}


def source_kind(name: str) -> SourceKind[Any] | None:
    """Return the kind of this name, None where there is none (any more)."""
    return _BY_NAME.get(name)
