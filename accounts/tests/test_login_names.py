"""Which account a login name identifies, and that finding it costs the same whatever the name is."""

import unicodedata
from io import StringIO
from typing import Any

import pytest
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from django.conf import settings as django_settings
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.core.checks import Tags, run_checks
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.login_names import account_named, account_with_address, spelled_alike
from accounts.models import User
from accounts.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db


def name_of(name: str) -> str | None:
    named = account_named(name)
    return named.user.username if named is not None else None


@pytest.fixture
def people() -> dict[str, User]:
    """Accounts, and every address that one of them has and has not verified."""
    ada = make_user(username="Ada", email="ada@example.org")
    EmailAddress.objects.create(user=ada, email="ada@example.org", verified=True, primary=True)
    EmailAddress.objects.create(user=ada, email="ada@home.example", verified=True)
    # Made by operators: its row came with a password reset.
    root = make_user(username="root", email="root@example.org")
    EmailAddress.objects.create(user=root, email="root@example.org", verified=False)
    # Signed up with a strange address, and not been seen since.
    squatter = make_user(username="squatter", email="boss@example.org")
    EmailAddress.objects.create(user=squatter, email="boss@example.org", verified=False, primary=True)
    # Added the addresses of others.
    eve = make_user(username="eve", email="eve@example.org")
    for address in ("ada@example.org", "root@example.org", "victim@example.org"):
        EmailAddress.objects.create(user=eve, email=address, verified=False)
    # Has a name of former versions.
    mallory = make_user(username="ada@home.example")
    odd = make_user(username="mallory@example.org")
    twins = [make_user(username=name) for name in ("grace", "Grace")]
    return {user.username: user for user in (ada, root, squatter, eve, mallory, odd, make_user(username="Ian"), *twins)}


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("Ada", "Ada"),
        ("ada", "Ada"),
        (" ADA ", "Ada"),
        ("\uff21da", "Ada"),
        ("ada@example.org", "Ada"),
        ("ADA@Example.ORG", "Ada"),
        (" ada@\uff25xample.org", "Ada"),
        ("ada@home.example", "Ada"),
        ("root@example.org", "root"),
        ("boss@example.org", None),
        ("squatter", "squatter"),
        ("victim@example.org", None),
        ("mallory@example.org", "mallory@example.org"),
        ("grace", "grace"),
        ("Grace", "Grace"),
        ("GRACE", None),
        ("\u0131an", "Ian"),
        ("v\u0131ctor@example.org", None),
        ("", None),
        ("  ", None),
        ("nobody", None),
        ("nobody@example.org", None),
        ("Ada\0", None),
        ("\ud800", None),
        ("x" * 10_000, None),
        ("Ada" + " " * 10_000, "Ada"),
    ],
)
def test_a_name_names_one_account_or_none(people: dict[str, User], name: str, account: str | None) -> None:
    assert name_of(name) == account


def test_names_that_share_a_counter_name_the_same_account(people: dict[str, User]) -> None:
    victor = make_user(username="victor", email="victor@example.org")
    EmailAddress.objects.create(user=victor, email=victor.email, verified=True, primary=True)
    make_user(username="stra\xdfe")
    names = ["Ada", "Ian", "victor", "stra\xdfe", "ada@example.org", "victor@example.org", "root@example.org"]
    wide = {number: number + 0xFEE0 for number in range(0x21, 0x7F)}
    for name in names:
        assert name_of(name) is not None
        others = [
            name.upper(),
            name.lower(),
            name.casefold(),
            name.title(),
            f" {name}\u00a0",
            name.translate(wide),
            name.upper().translate(wide),
            name.replace("i", "\u0131"),
            name.replace("I", "\u0130"),
            name.replace("s", "\u017f"),
            unicodedata.normalize("NFD", name),
        ]
        for other in others:
            assert spelled_alike(other) != spelled_alike(name) or name_of(other) == name_of(name), other


def test_a_name_that_is_too_long_is_not_looked_up(django_assert_num_queries: Any) -> None:
    # Normalized it would have eighteen times as many characters.
    for length, statements in ((254, 2), (255, 0), (300_000, 0)):
        with django_assert_num_queries(statements):
            assert account_named("\ufdfa" * length) is None
    assert len(spelled_alike("\ufdfa" * 300_000)) < 5000


def test_the_address_of_two_accounts_of_operators_names_neither() -> None:
    for name in ("one", "two"):
        make_user(username=name, email="ops@example.org")
    assert name_of("ops@example.org") is None
    EmailAddress.objects.create(user=User.objects.get(username="two"), email="ops@example.org", verified=True)
    assert name_of("ops@example.org") == "two"


def test_the_stored_address_is_returned_however_it_was_typed(people: dict[str, User]) -> None:
    named = account_with_address("ADA@\uff25XAMPLE.org")
    assert named is not None
    assert (named.user.username, named.address) == ("Ada", "ada@example.org")
    assert account_with_address("Ada") is None


# --- constant work -------------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record each run of the password hash."""
    runs: list[str] = []
    encode = MD5PasswordHasher.encode

    def recorded(self: Any, password: str, salt: str) -> str:
        runs.append(password)
        return str(encode(self, password, salt))

    monkeypatch.setattr(MD5PasswordHasher, "encode", recorded)
    return runs


NAMES = (
    "Ada",
    "ada@example.org",
    "root@example.org",
    "victim@example.org",
    "boss@example.org",
    "squatter",
    "mallory@example.org",
    "GRACE",
    "inactive",
    "inactive@example.org",
    "github",
    "nobody",
    "nobody@example.org",
)


@pytest.fixture
def everybody(people: dict[str, User]) -> None:
    make_user(username="inactive", email="inactive@example.org", is_active=False)
    only_github = make_user(username="github")
    only_github.set_unusable_password()
    only_github.save()


@pytest.mark.usefixtures("everybody")
@pytest.mark.parametrize("limits", [True, False])
def test_a_wrong_password_costs_one_hash_and_as_many_statements_whatever_the_name(
    hashed: list[str], settings: Any, django_assert_num_queries: Any, limits: bool
) -> None:
    settings.SEQPULSE_RATE_LIMITS = limits
    # Two to find the account; one to count the address, one to count the account.
    statements = 4 if limits else 2
    for number, name in enumerate(NAMES):
        hashed.clear()
        with django_assert_num_queries(statements):
            form = {"login": name, "password": "wrong"}
            answer = Client().post("/accounts/login/", form, REMOTE_ADDR=f"192.0.2.{number}")
        assert answer.status_code == 200, name
        assert len(hashed) == 1, name


@pytest.mark.usefixtures("everybody")
@pytest.mark.parametrize("name", [*NAMES, "", "Ada\0"])
def test_every_caller_of_authenticate_costs_one_hash(hashed: list[str], name: str) -> None:
    for password in ("wrong", PASSWORD):
        hashed.clear()
        authenticate(None, username=name, password=password)
        assert len(hashed) == 1
    assert authenticate(None, username="ada@example.org", password=PASSWORD) is not None
    assert authenticate(None, username="inactive", password=PASSWORD) is None
    assert authenticate(None, email="ada@example.org", password=PASSWORD) is not None


def test_signing_up_costs_as_much_for_an_address_with_an_account(hashed: list[str], settings: Any) -> None:
    settings.SEQPULSE_SIGNUP_OPEN = True
    make_user(username="ada", email="ada@example.org")
    hashed.clear()
    for address in ("ada@example.org", "new@example.org", "NEW@example.org"):
        form = {"email": address, "password1": "a fine long phrase", "password2": "a fine long phrase"}
        answer = Client().post("/accounts/signup/", form)
        assert (answer.status_code, answer["Location"]) == (302, "/accounts/confirm-email/")
        assert hashed == ["a fine long phrase"]
        hashed.clear()
    assert [message.to for message in mail.outbox] == [["ada@example.org"], ["new@example.org"], ["new@example.org"]]


@pytest.mark.usefixtures("everybody")
def test_a_password_reset_hashes_nothing_and_sends_one_mail_whatever_the_address(
    hashed: list[str], django_assert_num_queries: Any
) -> None:
    hashed.clear()
    addresses = [name for name in NAMES if "@" in name]
    for address in addresses:
        with django_assert_num_queries(4):
            answer = Client().post("/accounts/password/reset/", {"email": address})
        assert (answer.status_code, answer["Location"]) == (302, "/accounts/password/reset/done/")
    assert hashed == []
    assert [message.to for message in mail.outbox] == [[address] for address in addresses]
    with_link = {message.to[0] for message in mail.outbox if "reset/key" in message.body}
    assert with_link == {"ada@example.org", "root@example.org"}


# --- user names that look like addresses ---------------------------------------------------------------------------

LOOKS_LIKE_ONE = "root@example.org"


def test_no_form_or_command_takes_a_user_name_that_looks_like_an_address(client: Client) -> None:
    eve = make_user(username="eve")
    client.force_login(eve)
    profile = {"username": LOOKS_LIKE_ONE, "first_name": "", "last_name": "", "language": "", "theme": ""}
    assert "e-mail address" in client.post("/dashboard/settings/", profile).content.decode()
    with pytest.raises(CommandError, match="e-mail address"):
        call_command("createsuperuser", "--noinput", username=LOOKS_LIKE_ONE, email="x@example.org")
    with pytest.raises(ValidationError, match="e-mail address"):
        User.objects.create_user(LOOKS_LIKE_ONE)
    client.force_login(make_user(username="staff", is_staff=True, is_superuser=True))
    new = {"username": LOOKS_LIKE_ONE, "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert "e-mail address" in client.post("/admin/accounts/user/add/", new).content.decode()
    assert "e-mail address" in client.post(f"/admin/accounts/user/{eve.pk}/change/", new).content.decode()
    # From a provider: another name is derived.
    with pytest.raises(ValidationError, match="e-mail address"):
        get_adapter().clean_username(LOOKS_LIKE_ONE)
    assert not User.objects.filter(username__contains="@").exists()


def test_a_name_in_another_unicode_form_is_stored_in_the_usual_one(client: Client) -> None:
    make_user(username="root")
    make_user(username="ian")
    eve = make_user(username="eve")
    client.force_login(eve)
    profile = {"username": "\u0131an", "first_name": "", "last_name": "", "language": "", "theme": ""}
    for name in ("\u0131an", "IAN", "\uff52oot"):
        assert "taken" in client.post("/dashboard/settings/", {**profile, "username": name}).content.decode()
    client.post("/dashboard/settings/", {**profile, "username": "\uff45\uff56e2"})
    assert User.objects.get(pk=eve.pk).username == "eve2"


def test_a_check_lists_user_names_of_former_versions() -> None:
    assert run_checks(tags=[Tags.database], databases=["default"]) == []
    make_user(username=LOOKS_LIKE_ONE)
    [found] = run_checks(tags=[Tags.database], databases=["default"])
    assert found.id == "accounts.W001"
    assert LOOKS_LIKE_ONE in found.msg
    said = StringIO()
    call_command("migrate", skip_checks=False, verbosity=0, stderr=said)
    assert LOOKS_LIKE_ONE in said.getvalue()


# --- addresses that are not verified -------------------------------------------------------------------------------


def test_no_account_gets_an_address_by_removing_its_own(client: Client) -> None:
    eve = make_user(username="eve", email="eve@example.org")
    client.post("/accounts/login/", {"login": "eve", "password": PASSWORD})
    client.post("/accounts/email/", {"action_add": "", "email": "victim@example.org"})
    client.post("/accounts/password/reset/", {"email": "eve@example.org"})
    client.post("/accounts/email/", {"action_remove": "", "email": "eve@example.org"})
    assert User.objects.get(pk=eve.pk).email == "eve@example.org"
    assert account_with_address("victim@example.org") is None


def test_staff_who_signed_in_reach_no_other_account_through_the_admin(client: Client) -> None:
    make_user(username="root", is_staff=True, is_superuser=True)
    staff = make_user(username="staff", is_staff=True)
    client.force_login(staff)
    answer = client.post("/admin/login/", {"username": "root", "password": PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert client.session["_auth_user_id"] == str(staff.pk)


@pytest.mark.parametrize("backend", django_settings.AUTHENTICATION_BACKENDS)
def test_sessions_of_former_versions_stay(client: Client, backend: str) -> None:
    client.force_login(make_user(), backend=backend)
    assert client.get("/dashboard/settings/").status_code == 200
