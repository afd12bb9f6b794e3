"""The kinds of events, their default severity, and how long they are worth a notification."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Severity(StrEnum):
    """Severity of an event, in ascending order."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


SEVERITIES = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event. useful_for: after that time its pending deliveries expire.

    follows: it also goes to the channels that got an alert about what it is about, whatever their smallest severity.
    """

    name: str
    severity: Severity = Severity.INFO
    useful_for: timedelta = timedelta(days=1)
    follows: bool = False


_ALL = (
    # A final verdict, with the severity of what it says.
    Kind("verdict_issued", follows=True),
    # A later analysis or a person's mark says something else than the verdict that was issued.
    Kind("verdict_revised", follows=True),
    # A verdict before the end of the window, which is always the recommendation to roll back.
    Kind("early_rollback", Severity.CRITICAL),
    # The environment's first good verdict after one that was not.
    Kind("recovered", follows=True),
    Kind("endpoint_silent", Severity.WARNING),
    Kind("endpoint_answers", follows=True),
    Kind("signature_refused", Severity.CRITICAL),
    Kind("deployment_abandoned", Severity.WARNING),
    Kind("rolled_back", Severity.WARNING, follows=True),
    Kind("acknowledged", follows=True),
    Kind("rollback_asked", Severity.CRITICAL, follows=True),
    Kind("rollback_fired", Severity.CRITICAL, follows=True),
    Kind("rollback_failed", Severity.CRITICAL, follows=True),
    # Perhaps carried out: the answer does not say, or none came.
    Kind("rollback_unknown", Severity.CRITICAL, follows=True),
    Kind("freeze_forced", Severity.WARNING),
    Kind("key_made"),
    Kind("member_invited"),
    Kind("channel_disabled", Severity.WARNING),
    # Of a team, to its e-mail channels (notifications/weekly.py).
    Kind("weekly_report", useful_for=timedelta(days=2)),
    # What "Send a test" sends.
    Kind("test", useful_for=timedelta(minutes=10)),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
