"""Every URL, for every kind of caller, against one table (tests/access_table.py).

A URL without a line fails the test, and so does a line without its URL.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import Role
from accounts.tests.factories import make_user
from projects.models import Environment
from security.encryption import Sealed
from tests.access_table import CALLERS, LINES, LOGIN, METHODS, Line
from tests.access_world import (
    FIXED,
    IDS,
    UNKNOWN,
    World,
    addresses,
    admin_addresses,
    answer_to,
    ask,
    client_of,
    passing_world,
    said,
    url_of,
)
from tests.growth_table import BOUNDED, SHRUNK

# Also creates the test database: the fixture `world` uses it directly.
pytestmark = pytest.mark.django_db

REFUSED = {LOGIN, "401", "403", "404"}
# A session may begin for who is asked to sign in, and a key was used, and its call counted, even for another project.
WRITES = re.compile(
    r"\s*(INSERT INTO (?!\"django_session)|UPDATE (?!\"projects_apikey\" SET \"last_used_at)|DELETE|"
    r"WITH(?=.*(INSERT INTO (?!rate_counters)|DELETE|UPDATE (?!projects_apikey|SET))))",
    re.DOTALL,
)
BAD_IDS = ("x", "-1", "%00", "1e3", "9" * 5000, "٣", str(2**63), str(10**30))


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """Create the world once; each call is rolled back (`ask`)."""
    with django_db_blocker.unblock(), passing_world() as made:
        yield made


# --- the table -----------------------------------------------------------------------------------------------------

HOW = """{name} is not in the table. Add a line for it, and one for each method that it takes, to TABLE in
tests/access_table.py, for example
    GET   {name}  viewer 200
    POST  {name}  admin  302
What the words mean, and how to add what its POST needs to be accepted, stands at the top of that file. A new sort of id
in its address goes to IDS in tests/access_world.py."""


@pytest.mark.parametrize("name", sorted(addresses()))
def test_every_address_is_in_the_table(name: str) -> None:
    assert name in {line.name for line in LINES}, HOW.format(name=name)
    missing = [
        parameter
        for parameter in addresses()[name].parameters
        if addresses()[name].id_of(parameter) not in IDS and parameter not in FIXED
    ]
    assert not missing, f"{name}: say in IDS (or FIXED) of tests/access_world.py what to put for {missing}"


def test_every_line_is_of_an_address_that_is_there() -> None:
    gone = sorted({line.name for line in LINES} - set(addresses()))
    assert not gone, f"these addresses are gone: take their lines out of TABLE: {gone}"
    assert len({str(line) for line in LINES}) == len(LINES), "an address and method stands there twice"


@pytest.fixture
def no_record_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that are older than a minute are not recorded as in use: how slow the machine is decides on that."""
    monkeypatch.setattr("seqpulse.activity.EVERY", timedelta(days=1))


@pytest.mark.usefixtures("no_record_of_use")
@pytest.mark.parametrize("line", LINES, ids=str)
def test_each_caller_gets_the_answer_of_the_table(world: World, line: Line) -> None:
    answers = {}
    for caller, client in world.clients.items():
        with CaptureQueriesContext(connection) as captured:
            answers[caller] = said(answer_to(client, line, world.own))
        if answers[caller] in REFUSED:
            written = [query["sql"] for query in captured if WRITES.match(query["sql"])]
            assert not written, f"{line}: {caller} is refused, and yet something is written"
    assert answers == line.answers, f"{line}: {url_of(line.name, world.own)}"


@pytest.mark.parametrize("name", sorted(addresses()))
def test_a_method_without_a_line_is_refused(world: World, name: str) -> None:
    """The caller with the most rights calls: the others might get a refusal instead of 405."""
    url = url_of(name, world.own)
    named = [line for line in LINES if line.name == name]
    caller = "key" if any(line.is_api for line in named) else "operator"
    # Of views that are not ours, some take PUT like POST; redirects take everything.
    ours = caller == "key" or (name.startswith("dashboard:") and name != "dashboard:home")
    others = ("PUT", "PATCH", "DELETE") if ours else ()
    for method in {*METHODS, *others} - {line.method for line in named}:
        answer = ask(world.clients[caller], method, url)
        assert answer.status_code == 405, f"{method} {url} answers {answer.status_code}: it needs a line of its own"


def test_a_get_of_a_stranger_leaves_no_row(world: World, settings: Any) -> None:
    app = {"client_id": "client", "secret": "secret"}
    settings.SOCIALACCOUNT_PROVIDERS = {"github": {"APPS": [app]}, "google": {"APPS": [app]}}
    before, leave = row_counts(), set()
    for name in addresses():
        # Views of allauth answer scripts as well.
        as_script = {"X-Requested-With": "XMLHttpRequest", "Accept": "application/json"}
        for headers in ({}, *([] if name.startswith("dashboard:") else [as_script])):
            with transaction.atomic():
                Client(raise_request_exception=False, headers=headers).get(url_of(name, world.own))
                leave |= {(name, table) for table, count in row_counts().items() if count > before[table]}
                transaction.set_rollback(True)
    assert not leave


def row_counts() -> dict[str, int]:
    """Return the number of rows of each table, but for the counts of requests by second."""
    with connection.cursor() as cursor:
        tables = sorted({*SHRUNK, *BOUNDED} - {"own_requests"})
        cursor.execute(" UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in tables))  # noqa: S608  (names of tables)
        return dict(cursor.fetchall())


WITH_FORMS = [line for line in LINES if line.method == "POST" and line.name.startswith("dashboard:")]
# The link of a mail is all that its form needs: mail programs post it as well, for one-click unsubscribing.
WITH_FORMS = [line for line in WITH_FORMS if line.name not in ("dashboard:home", "dashboard:mail")]


@pytest.mark.parametrize("line", WITH_FORMS, ids=str)
def test_every_form_needs_its_token(world: World, line: Line) -> None:
    strict = client_of(world.own.team.memberships.get(role=Role.OWNER, user__username="owner").user)
    strict.handler.enforce_csrf_checks = True
    assert said(answer_to(strict, line, world.own)) == "403"


WITH_IDS = [line for line in LINES if line.name in addresses() and addresses()[line.name].ids()]


@pytest.mark.parametrize("line", WITH_IDS, ids=str)
def test_what_is_foreign_is_answered_as_what_is_not_there(world: World, line: Line) -> None:
    """Answers are compared byte for byte, for each id in the URL separately and for all of them."""
    address = addresses()[line.name]
    own, foreign = address.values(world.own), address.values(world.foreign)
    ids = address.ids()
    callers = ("key",) if line.is_api else ("owner", "viewer", "anonymous")
    for caller in callers:
        for exchanged in ([name] for name in ids) if len(ids) == 1 else [*([name] for name in ids), ids]:
            theirs = {**own, **{name: foreign[name] for name in exchanged}}
            unknown = {**own, **{name: UNKNOWN[type(own[name])] for name in exchanged}}
            one, other = (
                answer_to(world.clients[caller], line, world.own, address.url(values)) for values in (theirs, unknown)
            )
            assert (one.status_code, one.content) == (other.status_code, other.content), f"{caller}: {exchanged}"
            assert said(one) == said(other)


def test_every_page_opens_where_no_key_opens_the_secrets(world: World, settings: Any) -> None:
    with transaction.atomic():
        Environment.objects.update(hmac_secret=Sealed.of("lost"))
        settings.SEQPULSE_ENCRYPTION_KEYS = ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
        for line in LINES:
            if line.method == "GET" and line.name.startswith("dashboard:"):
                assert said(answer_to(world.clients["operator"], line, world.own)) == line.answers["operator"], line
        transaction.set_rollback(True)


@pytest.mark.parametrize("line", WITH_IDS, ids=str)
def test_what_is_no_id_is_not_found(world: World, line: Line) -> None:
    address = addresses()[line.name]
    values = address.values(world.own)
    for name in address.ids():
        before, _, after = address.url(values).partition(f"/{values[name]}/")
        for bad in BAD_IDS:
            client = world.clients["key" if line.is_api else "owner"]
            answer = answer_to(client, line, world.own, f"{before}/{bad}/{after}")
            # allauth asks for the password before it looks.
            asks_first = line.name.startswith("mfa_") and answer.status_code == 302
            # What is not excluded is included.
            is_so = (line.name, name, answer.status_code) == ("dashboard:include-window", "window_id", 302)
            assert answer.status_code == 404 or asks_first or is_so, bad


# --- Django admin --------------------------------------------------------------------------------------------------

# Public: sign-in and sign-out.
ADMIN_OPEN = {"admin:login", "admin:logout"}
# For all staff: these pages show no data.
ADMIN_STAFF = {
    "admin:index",
    "admin:password_change",
    "admin:password_change_done",
    "admin:jsi18n",
    "admin:autocomplete",
}


@pytest.fixture(scope="module")
def staff(world: World) -> Client:
    """Return a client of a member of staff without permissions."""
    return client_of(make_user(username="clerk", is_staff=True))


def test_the_admin_knows_every_registered_model() -> None:
    names = {name for name, _ in admin_addresses()}
    for model in admin.site._registry:
        assert f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist" in names


@pytest.mark.parametrize("caller", [caller for caller in CALLERS if caller != "operator"])
def test_the_admin_lets_in_staff_only(world: World, caller: str) -> None:
    """Other callers are asked to sign in, or refused."""
    wrong = []
    for name, url in admin_addresses():
        for method in METHODS if name not in ADMIN_OPEN else ():
            answer = ask(world.clients[caller], method, url)
            asked_to_sign_in = answer.status_code == 302 and "/login/?next=" in answer["Location"]
            if not asked_to_sign_in and answer.status_code != 403:
                wrong.append(f"{method} {url}: {answer.status_code} {answer.headers.get('Location', '')}")
    assert not wrong


def test_staff_without_a_right_see_and_change_nothing(world: World, staff: Client) -> None:
    wrong = []
    for name, url in admin_addresses():
        for method in METHODS:
            answer = ask(staff, method, url)
            if name not in ADMIN_OPEN | ADMIN_STAFF and answer.status_code not in (302, 403, 404, 405):
                wrong.append(f"{method} {url}: {answer.status_code}")
    assert not wrong


def test_an_operator_opens_every_list_of_the_admin(world: World) -> None:
    for name, url in admin_addresses():
        answer = ask(world.clients["operator"], "GET", url)
        assert answer.status_code < 500, url
        if name.endswith("_changelist"):
            assert answer.status_code == 200, url
