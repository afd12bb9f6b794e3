"""Find the messages with buttons that are out of date, and enqueue jobs that change them (updating.py).

What a message shows is read when it is changed, so jobs may be late, repeated and out of order.
"""

from collections.abc import Iterable
from datetime import timedelta

from django.db.models import OuterRef, Q, Subquery

from deployments.models import Deployment
from notifications.channels import CHANNEL_KINDS
from notifications.models import Delivery, DeliveryState
from scheduler.queue import NewJob, database_now, enqueue

UPDATE = "update_message"
WITH_BUTTONS = [kind.name for kind in CHANNEL_KINDS if kind.buttons]
# A message that is being sent shows what was known before; then it has arrived.
WHEN_SENT = timedelta(seconds=15)


def refresh(deployment_ids: Iterable[int]) -> int:
    """Enqueue changes of the messages with buttons about these deployments; return how many."""
    rows = Delivery.objects.filter(
        Q(state=DeliveryState.SENT) & ~Q(reference="") | Q(state=DeliveryState.PENDING, attempts__gt=0),
        event__deployment_id__in=set(deployment_ids),
        channel__kind__in=WITH_BUTTONS,
        sent_with__isnull=True,
    )
    found = list(rows.exclude(event__kind="acknowledged").values_list("pk", "channel_id", "state"))
    if found:
        later = database_now() + WHEN_SENT
        enqueue(
            NewJob(
                UPDATE,
                later if state == DeliveryState.PENDING else None,
                fair_key=channel,
                metadata={"delivery": pk},
            )
            for pk, channel, state in found
        )
    return len(found)


def with_predecessors(deployment_ids: Iterable[int]) -> set[int]:
    """Return the ids with those of the deployments before them in their environments, which they replace."""
    before = Deployment.objects.filter(environment=OuterRef("environment"), pk__lt=OuterRef("pk")).order_by("-pk")
    rows = Deployment.objects.filter(pk__in=set(deployment_ids)).annotate(before=Subquery(before.values("pk")[:1]))
    return {pk for row in rows.values_list("pk", "before") for pk in row if pk is not None}
