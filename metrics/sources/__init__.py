"""Kinds of sources: what an environment's samples come from."""

from typing import Any

from metrics.sources.alerts import AlertsKind
from metrics.sources.base import SourceKind
from metrics.sources.check import CheckKind
from metrics.sources.endpoint import EndpointKind
from metrics.sources.openmetrics import OpenMetricsKind
from metrics.sources.prometheus import PrometheusKind
from metrics.sources.push import PushKind

SOURCE_KINDS: tuple[SourceKind[Any], ...] = (
    EndpointKind(),
    PrometheusKind(),
    OpenMetricsKind(),
    CheckKind(),
    PushKind(),
    AlertsKind(),
)
# Those that can answer for the past (projects/models.py names them as well).
RANGED_KINDS = frozenset(kind.name for kind in SOURCE_KINDS if kind.ranged)
# Those that expect something of the service besides metrics.
EXPECTING_KINDS = frozenset(kind.name for kind in SOURCE_KINDS if kind.expects)
_BY_NAME = {kind.name: kind for kind in SOURCE_KINDS}


def source_kind(name: str) -> SourceKind[Any] | None:
    """Return the kind of this name, None where there is none (any more)."""
    return _BY_NAME.get(name)
