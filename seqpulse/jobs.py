"""What recurs for the installation itself."""

from __future__ import annotations

from django.db.models.functions import Now

from scheduler.recurring import recurring
from seqpulse.models import RateCounter, UsedNonce


@recurring("forget_counters", every_s=300)
def forget_counters() -> int:
    """Removes the counters of periods that are over; returns how many."""
    return RateCounter.objects.filter(expires_at__lt=Now()).delete()[0]


@recurring("forget_nonces", every_s=300)
def forget_nonces() -> int:
    """Removes the nonces whose requests would be refused for their age; returns how many."""
    return UsedNonce.objects.filter(expires_at__lt=Now()).delete()[0]
