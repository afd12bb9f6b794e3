"""Which account a login name names, and that finding it costs the same whatever it is."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import MD5PasswordHasher
from django.test import Client

from accounts.login_names import account_named, account_with_address
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
        # A dotless i is another letter.
        ("\u0131an", None),
        ("", None),
        ("  ", None),
        ("nobody", None),
        ("nobody@example.org", None),
        ("Ada\0", None),
        ("\ud800", None),
        ("x" * 10_000, None),
    ],
)
def test_a_name_names_one_account_or_none(people: dict[str, User], name: str, account: str | None) -> None:
    assert name_of(name) == account


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
    # Two to find the account, each time; one to count the address, one to count the account.
    statements = 6 if limits else 2
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
