"""Recurring work on deployments."""

from deployments.closing import abandon_stale
from scheduler.recurring import recurring

recurring("abandon_stale_deployments", every_s=300)(abandon_stale)
