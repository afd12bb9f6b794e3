"""Counters of deliveries, and what waits."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from common import totals
from notifications.channels import CHANNEL_KINDS
from notifications.models import DeliveryState
from scheduler.state import GAUGES_TIMEOUT_MS, bounded

ENDS = [state for state in DeliveryState.values if state != DeliveryState.PENDING]
DELIVERIES = totals.counter(
    "seqpulse_notifications_deliveries_total",
    "Deliveries of events that came to their end, by how.",
    ("channel_kind", "state"),
    [(kind.name, state) for kind in CHANNEL_KINDS for state in ENDS],
)
WAITING = """
SELECT kind, count(*), greatest(0, extract(epoch FROM now() - min(due_at)))::float8
FROM notification_deliveries JOIN notification_channels AS channel ON channel.id = channel_id
WHERE state = 'pending' GROUP BY kind
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Deliveries that wait. number: by kind of channel; oldest_s: since the oldest due one was due, by kind."""

    number: dict[str, int]
    oldest_s: dict[str, float]


def count_ends(ends: Iterable[tuple[str, str]]) -> None:
    """Count deliveries that ended, by kind of channel and state, in the transaction that ends them."""
    DELIVERIES.add(Counter((kind, state) for kind, state in ends if state != DeliveryState.PENDING))


def read_waiting() -> Waiting:
    """Read what waits: by the index of what waits, however many deliveries have ended."""
    with bounded(GAUGES_TIMEOUT_MS) as cursor:
        cursor.execute(WAITING)
        rows = cursor.fetchall()
    none = {kind.name: 0 for kind in CHANNEL_KINDS}
    return Waiting(
        none | {kind: number for kind, number, _ in rows},
        dict.fromkeys(none, 0.0) | {kind: late_s for kind, _, late_s in rows},
    )
