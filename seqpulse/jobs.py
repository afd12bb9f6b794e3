"""Recurring jobs of the installation."""

import structlog

from scheduler.recurring import recurring
from seqpulse.housekeeping import delete_abandoned, delete_over

logger = structlog.get_logger(__name__)


@recurring("forget_counters", every_s=300)
def forget_counters() -> int:
    """Delete the counters of past periods; return how many."""
    return delete_over("rate_counters")


@recurring("forget_nonces", every_s=300)
def forget_nonces() -> int:
    """Delete nonces whose requests would be refused for their age; return how many."""
    return delete_over("used_nonces")


@recurring("housekeeping", every_s=3600)
def housekeeping() -> dict[str, int]:
    """Delete ended sessions, old invitations and entries of the admin's log, and sign-ups that were never completed.

    Returns how many rows by table.
    """
    # Sessions first: what belongs to them follows.
    tables = ("django_session", "usersessions_usersession", "accounts_invitation", "django_admin_log")
    deleted = {table: delete_over(table) for table in tables}
    deleted["accounts_user"] = delete_abandoned()
    if any(deleted.values()):
        logger.info("housekeeping", **deleted)
    return deleted
