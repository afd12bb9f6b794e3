"""No table grows without bound: each has a job that shrinks it, or a bound (tests/growth_table.py)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

from accounts.models import Invitation, User
from accounts.tests.factories import make_membership, make_team, make_user
from scheduler.recurring import registered
from scheduler.tests.kinds import plain_connection
from seqpulse import housekeeping, jobs
from seqpulse.models import RateCounter, UsedNonce
from tests.concurrency import in_background
from tests.growth_table import BOUNDED, SHRUNK
from tests.processes import wait_for

pytestmark = pytest.mark.django_db

# Partitions count as their table.
TABLES = """
SELECT relname FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace
WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname = 'public'
"""
HOW = """Say in tests/growth_table.py why these tables cannot grow without bound: the job that shrinks each (SHRUNK), or
what bounds the number of its rows (BOUNDED)"""


def tables() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        return {name for (name,) in cursor.fetchall()}


def test_every_table_has_a_bound() -> None:
    assert not SHRUNK.keys() & BOUNDED.keys()
    assert tables() - SHRUNK.keys() - BOUNDED.keys() == set(), HOW
    assert SHRUNK.keys() | BOUNDED.keys() == tables(), "tables that are gone"
    assert all(BOUNDED.values())


def test_every_job_that_shrinks_a_table_recurs() -> None:
    assert set(SHRUNK.values()) <= registered()


def test_a_table_without_a_bound_is_found() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE new_ones (id bigint)")
    assert tables() - SHRUNK.keys() - BOUNDED.keys() == {"new_ones"}


# --- what housekeeping deletes, and what it leaves -----------------------------------------------------------------


def ago(**past: float) -> Any:
    return timezone.now() - timedelta(**past)


def session(key: str, **age: float) -> Session:
    return Session.objects.create(session_key=key, session_data="", expire_date=ago(**age))


def listed(key: str, **age: float) -> UserSession:
    row = UserSession.objects.create(user=make_user(), ip="192.0.2.1", session_key=key, user_agent="")
    UserSession.objects.filter(pk=row.pk).update(created_at=ago(**age))
    return row


def listed_with_session(key: str) -> UserSession:
    session(key, hours=-1)
    return listed(key, days=9)


def invitation(token: str, **fields: Any) -> Invitation:
    return Invitation.objects.create(team=make_team(), email="x@example.org", token_hash=token, **fields)


def logged(**age: float) -> LogEntry:
    entry = LogEntry.objects.create(user=make_user(), action_flag=ADDITION, object_repr="x")
    LogEntry.objects.filter(pk=entry.pk).update(action_time=ago(**age))
    return entry


def signed_up(*, verified: bool = False, primary: bool = True, **fields: Any) -> User:
    user = make_user(**{"email": f"new{User.objects.count()}@example.org", "date_joined": ago(days=8), **fields})
    EmailAddress.objects.create(user=user, email=user.email, verified=verified, primary=primary)
    return user


def member() -> User:
    user = signed_up()
    make_membership(user=user)
    return user


CASES: list[tuple[str, Callable[[], Any], bool]] = [
    ("django_session", lambda: session("old", seconds=1), True),
    ("django_session", lambda: session("new", seconds=-60), False),
    ("usersessions_usersession", lambda: listed("gone", hours=2), True),
    ("usersessions_usersession", lambda: listed("just begun", minutes=1), False),
    ("usersessions_usersession", lambda: listed_with_session("here"), False),
    ("accounts_invitation", lambda: invitation("a", accepted_at=ago(days=31)), True),
    ("accounts_invitation", lambda: invitation("b", revoked_at=ago(days=31)), True),
    ("accounts_invitation", lambda: invitation("c", expires_at=ago(days=31)), True),
    ("accounts_invitation", lambda: invitation("d", expires_at=ago(days=9)), False),
    ("accounts_invitation", lambda: invitation("e", accepted_at=ago(days=9), expires_at=ago(days=31)), False),
    ("accounts_invitation", lambda: invitation("f"), False),
    ("django_admin_log", lambda: logged(days=731), True),
    ("django_admin_log", lambda: logged(days=729), False),
    ("accounts_user", signed_up, True),
    ("accounts_user", lambda: signed_up(date_joined=ago(days=6)), False),
    ("accounts_user", lambda: signed_up(verified=True), False),
    # Operators entered the address, or the account is in use.
    ("accounts_user", lambda: signed_up(primary=False), False),
    ("accounts_user", lambda: signed_up(last_login=ago(days=1)), False),
    ("accounts_user", lambda: signed_up(is_staff=True), False),
    ("accounts_user", lambda: make_user(date_joined=ago(days=99)), False),
    ("accounts_user", member, False),
    ("rate_counters", lambda: RateCounter.objects.create(key="old", value=1, expires_at=ago(seconds=1)), True),
    ("rate_counters", lambda: RateCounter.objects.create(key="new", value=1, expires_at=ago(seconds=-60)), False),
    ("used_nonces", lambda: UsedNonce.objects.create(digest=b"old", expires_at=ago(seconds=1)), True),
    ("used_nonces", lambda: UsedNonce.objects.create(digest=b"new", expires_at=ago(seconds=-60)), False),
]


def test_what_is_over_goes_and_the_rest_stays() -> None:
    rows = [(table, make(), goes) for table, make, goes in CASES]
    deleted = {"rate_counters": jobs.forget_counters(), "used_nonces": jobs.forget_nonces(), **jobs.housekeeping()}
    for table, row, goes in rows:
        assert type(row).objects.filter(pk=row.pk).exists() is not goes, (table, row.pk)
    assert deleted == {table: sum(goes for each, _, goes in rows if each == table) for table in deleted}
    assert {table for table in SHRUNK if SHRUNK[table] in ("housekeeping", "forget_counters", "forget_nonces")} == set(
        deleted
    )


def test_many_rows_go_in_one_pass_of_small_statements(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(housekeeping, "PAGES", 2)
    Session.objects.bulk_create(
        Session(session_key=f"{number}", expire_date=ago(hours=1 - number % 2 * 2)) for number in range(1000)
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size('django_session') / 8192")
        pages = cursor.fetchone()[0]
    assert pages > 4
    with django_assert_num_queries(1 + -(-pages // 2)):
        assert housekeeping.delete_over("django_session") == 500
    assert Session.objects.count() == 500


@pytest.mark.django_db(transaction=True)
def test_who_comes_in_meanwhile_is_no_abandoned_account() -> None:
    """Verified after the account was found, but before it was deleted."""
    users = [make_user(username=name, date_joined=ago(days=8), last_login=None) for name in ("late", "gone")]
    for user in users:
        EmailAddress.objects.update_or_create(
            user=user, primary=True, defaults={"email": f"{user.username}@example.org", "verified": False}
        )
    with plain_connection() as link, link.transaction():
        link.execute("UPDATE account_emailaddress SET verified = true WHERE email = 'late@example.org'")
        deleting = in_background(housekeeping.delete_abandoned)
        wait_for(lambda: one_waits(link), "the deletion to wait")
    assert deleting.result(10) == 1
    assert [user.username for user in User.objects.all()] == ["late"]


def one_waits(link: psycopg.Connection[Any]) -> bool:
    found = link.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() <> pid").fetchone()
    return bool(found and found[0])
