"""Delete rows that are no longer needed: what sign-ins, calls and strangers leave behind, table by table.

In batches, so that no statement holds locks for long; it may be interrupted at any time. tests/growth_table.py says of
every table why it cannot grow without bound.
"""

from allauth.account.models import EmailAddress
from django.db import connection, transaction

from accounts.models import User
from accounts.stages import abandoned

# Of a table, read by one statement: 4 MB.
PAGES = 512
# Accounts in one transaction: rows of many tables are looked for.
ACCOUNTS = 500
# How long a link says what became of its invitation, and Django admin what operators did.
INVITATIONS_KEPT_DAYS = 30
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
    """Delete the rows of the table that are over; return how many. One that is changed meanwhile stays.

    In one pass from the first page to the last, because a batch that looks for the next rows would pass all those that
    were deleted before it.
    """
    total = 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(%s) / current_setting('block_size')::int", [table])
        for page in range(0, cursor.fetchone()[0], PAGES):
            cursor.execute(
                f"DELETE FROM {table} WHERE ctid >= %s::tid AND ctid < %s::tid AND ({OVER[table]})",  # noqa: S608  (constants)
                [f"({page},0)", f"({page + PAGES},0)"],
            )
            total += cursor.rowcount
    return total


def delete_abandoned() -> int:
    """Delete accounts whose sign-up was never completed, with their addresses; return how many."""
    total = 0
    while True:
        with transaction.atomic():
            # Accounts verified meanwhile stay: locked first, and checked again by a statement that sees what was
            # committed until then. One that is being changed is left to the next time.
            found = abandoned().select_for_update(of=("self",), skip_locked=True)
            ids = list(found.values_list("pk", flat=True)[:ACCOUNTS])
            list(EmailAddress.objects.select_for_update().filter(user__in=ids).order_by("pk").values_list("pk"))
            still = list(abandoned().filter(pk__in=ids).values_list("pk", flat=True))
            User.objects.filter(pk__in=still).delete()
        total += len(still)
        if len(ids) < ACCOUNTS:
            return total
