"""Alerts that others send (metrics/alerting.py): no samples come from them, but further evidence."""

from typing import Annotated

from django.utils.translation import gettext_lazy as _
from pydantic import Field

from metrics.sources.base import SourceConfig, SourceKind

KIND = "alerts"
CRITICAL = "critical"
Severities = Annotated[list[Annotated[str, Field(min_length=1, max_length=40)]], Field(max_length=20)]


class AlertsConfig(SourceConfig):
    """critical: severities that recommend a rollback; ignored: those that say nothing; all others are warnings."""

    critical: Severities = ["critical", "page", "high", "emergency", "disaster", "fatal", "p1"]
    ignored: Severities = ["info", "none", "debug"]

    def level_of(self, severity: str) -> str:
        """Return critical, warning or ignored."""
        named = severity.lower()
        if named in map(str.lower, self.critical):
            return CRITICAL
        return "ignored" if named in map(str.lower, self.ignored) else "warning"


class AlertsKind(SourceKind[AlertsConfig]):
    name = KIND
    label = _("alerts")
    config = AlertsConfig
    measures = False
    of_service = False
