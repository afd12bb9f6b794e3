"""Job kinds: making deliveries, sending them; and what recurs."""

from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction

from analysis.outbox import REFRESH
from events.models import Event, Incident
from explain.facts import Fact
from notifications import delivering, updating
from notifications.fanning import DELIVER, EVENTS_AT_ONCE, FAN_OUT, fan_out, replan
from notifications.lanes import attempt
from notifications.refreshing import UPDATE, refresh
from notifications.rollbacks import attempts, payload
from notifications.weekly import send_due
from scheduler.queue import NewJob, database_now, enqueue
from scheduler.recurring import recurring
from scheduler.registry import Job, job_kind
from scheduler.retry import NO_RETRY, RetryPolicy

KEEP_DAYS = 90


def record_fan_out(done: object) -> None:
    # The rest is another job's: this transaction also stores samples and verdicts, and holds locks of channels.
    if fan_out() == EVENTS_AT_ONCE:
        enqueue([NewJob(FAN_OUT)])


# The trigger fan_out_events (notifications/migrations) writes one for each statement that writes events.
@job_kind(FAN_OUT, retry=RetryPolicy((1.0, 5.0, 30.0, 120.0)), record=record_fan_out)
async def run_fan_out(job: Job, prepared: None) -> None:
    """Nothing to do outside the transaction."""


@job_kind(DELIVER, retry=NO_RETRY, prepare=delivering.prepare, record=delivering.record, apart=True)
async def deliver(job: Job, prepared: delivering.Prepared) -> delivering.Ending:
    return await attempt(prepared) if isinstance(prepared, delivering.Sending) else prepared


@job_kind(
    attempts.ROLL_BACK, retry=NO_RETRY, prepare=attempts.prepare, record=attempts.record, on_finished=attempts.ended
)
def roll_back(job: Job, prepared: payload.Request | Fact | None) -> payload.Outcome | Fact | None:
    return payload.send(prepared) if isinstance(prepared, payload.Request) else prepared


def record_refresh(done: Sequence[tuple[Job, None]]) -> None:
    refresh(job.metadata["deployment"] for job, _ in done)


@job_kind(REFRESH, record=record_refresh)
async def refresh_messages(job: Job, prepared: None) -> None:
    """Nothing to do outside the transaction."""


@job_kind(
    UPDATE,
    retry=RetryPolicy((5.0, 30.0, 120.0, 600.0)),
    prepare=updating.prepare,
    record=updating.record,
    max_concurrency=4,
    external=True,
)
def update_message(job: Job, prepared: updating.Update | None) -> updating.Update | None:
    return updating.send(prepared) if prepared is not None else None


@recurring("sweep_rollbacks", every_s=30)
def sweep_rollbacks() -> int:
    """Recover rollbacks whose job died, and close those past their deadline; return how many there were."""
    return attempts.sweep()


@recurring("reconcile_deliveries", every_s=60)
def reconcile_deliveries() -> int:
    """Make the missing jobs of events and deliveries; return how many deliveries there were."""
    fanned_out = None
    while fanned_out != 0:
        # Each on its own: pollers wait for the channels that it locks.
        with transaction.atomic():
            fanned_out = fan_out()
    return replan()


@recurring("prune_events", every_s=3600)
def prune_events() -> int:
    """Delete events, with their deliveries, and incidents that are older than KEEP_DAYS; return how many."""
    since = database_now() - timedelta(days=KEEP_DAYS)
    deleted, _ = Event.objects.filter(occurred_at__lt=since).delete()
    Incident.objects.filter(seen_at__lt=since).delete()
    return deleted


@recurring("weekly_reports", every_s=3600)
def weekly_reports() -> int:
    """Send the weekly reports that are due; return how many."""
    return send_due()
