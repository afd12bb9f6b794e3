"""Delete rows that are over: what sign-ins, calls and strangers leave behind, table by table.

In batches, so that no statement holds locks for long; it may be interrupted at any time. tests/growth_table.py says of
every table why it cannot grow without bound.
"""

from django.db import connection, transaction

from accounts.models import User
from accounts.stages import abandoned

BATCH = 5000
# Of accounts, whose rows in other tables are looked for as well.
ACCOUNTS_BATCH = 500
# How long a link says what became of its invitation, and Django admin what operators did.
INVITATIONS_KEPT_DAYS = 90
ADMIN_LOG_KEPT_DAYS = 730

# Which rows are over, by table.
OVER = {
    "rate_counters": "expires_at < now()",
    "used_nonces": "expires_at < now()",
    "django_session": "expire_date < now()",
    # Of sessions that have ended; not yet of one that just begins.
    "usersessions_usersession": """created_at < now() - interval '1 hour' AND NOT EXISTS (
        SELECT FROM django_session AS session WHERE session.session_key = usersessions_usersession.session_key)""",
    "accounts_invitation": f"""coalesce(accepted_at, revoked_at, expires_at)
        < now() - interval '{INVITATIONS_KEPT_DAYS} days'""",
    "django_admin_log": f"action_time < now() - interval '{ADMIN_LOG_KEPT_DAYS} days'",
}


def delete_over(table: str) -> int:
    """Delete the rows of the table that are over; return how many. One that is changed meanwhile stays."""
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {OVER[table]} LIMIT %s))",  # noqa: S608  (constants)
                [BATCH],
            )
            deleted: int = cursor.rowcount
        total += deleted
        if deleted < BATCH:
            return total


def delete_abandoned() -> int:
    """Delete accounts whose sign-up was never completed, with their addresses; return how many."""
    total = 0
    while True:
        with transaction.atomic():
            ids = list(abandoned().values_list("pk", flat=True)[:ACCOUNTS_BATCH])
            User.objects.filter(pk__in=ids).delete()
        total += len(ids)
        if len(ids) < ACCOUNTS_BATCH:
            return total
