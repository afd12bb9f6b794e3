"""What a channel sends: an event, or several, in the words of one language. Pure values; channels lay them out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from analysis.charts import Chart


@dataclass(frozen=True, slots=True)
class Message:
    """One event, or several, for a receiver.

    id: the same at each attempt, so that receivers can drop repetitions. headline: the first line, which says what a
    person needs. details: further lines. link: its page, "" where SEQPULSE_PUBLIC_URL is not set. deployment: its UUID,
    "" where it is about none. incident: the same for one trouble of an environment, so that a recovery can resolve it;
    resolves: whether this one does. thread: what the receiver calls the first message about this deployment. data:
    the event as JSON, for machines. chart: of the metric that failed, for channels that draw. others: further events
    that go in the same message. standing: what became of the deployment since; actions: what people may still do about
    it; starts_rollback: whether that calls the environment's webhook (standing.py; of channels with buttons).
    """

    id: str
    kind: str
    severity: str
    headline: str
    occurred_at: datetime
    language: str = "en"
    details: tuple[str, ...] = ()
    link: str = ""
    deployment: str = ""
    incident: str = ""
    resolves: bool = False
    thread: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    chart: Chart | None = None
    others: tuple["Message", ...] = ()
    standing: tuple[str, ...] = ()
    actions: tuple[str, ...] = ("on_it", "rolled_back", "wrong")
    starts_rollback: bool = False
