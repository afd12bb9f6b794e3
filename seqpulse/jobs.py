"""Recurring jobs of the installation."""

from django.db.models.functions import Now

from scheduler.recurring import recurring
from seqpulse.models import RateCounter, UsedNonce


@recurring("forget_counters", every_s=300)
def forget_counters() -> int:
    """Delete the counters of past periods; return how many."""
    return RateCounter.objects.filter(expires_at__lt=Now()).delete()[0]


@recurring("forget_nonces", every_s=300)
def forget_nonces() -> int:
    """Delete nonces whose requests would be refused for their age; return how many."""
    return UsedNonce.objects.filter(expires_at__lt=Now()).delete()[0]
