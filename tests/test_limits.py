"""Rate limits from outside: who is limited, which counter applies, and that clients cannot choose it."""

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import allauth.urls
import pytest
import structlog
from allauth.account.models import EmailAddress
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.core import mail
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, reverse
from django.utils import timezone

from accounts.login_names import account_named
from accounts.models import User
from accounts.teams import create_team
from accounts.tests.factories import PASSWORD, make_user
from projects.tests.factories import make_api_key
from security.limits import Rate
from seqpulse.jobs import forget_counters
from seqpulse.known_browsers import BUCKETS, COOKIE, remember
from seqpulse.limits import buckets_of, limit_of
from seqpulse.models import RateCounter

pytestmark = pytest.mark.django_db
LIMIT = 3
LOGIN = "/accounts/login/"


@pytest.fixture(autouse=True)
def limited(settings: Any) -> None:
    """Make every limit small, with a period that does not end during a test."""
    settings.SEQPULSE_RATE_LIMITS = True
    settings.SEQPULSE_RATES = dict.fromkeys(settings.SEQPULSE_RATES, Rate(LIMIT, 86400 * 365))


def statuses(client: Client, path: str, times: int, **headers: str) -> list[int]:
    return [client.get(path, headers=headers).status_code for _ in range(times)]


def sign_in(client: Client, username: str, path: str = LOGIN, typed: str = "wrong", **extra: Any) -> int:
    return client.post(path, {"login": username, "password": typed}, **extra).status_code


def test_a_key_has_its_own_limit_and_every_answer_carries_its_state(client: Client) -> None:
    _, key = make_api_key()
    for used in range(1, LIMIT + 1):
        answer = client.get("/deployments", headers={"X-API-Key": key})
        assert answer.status_code == 200
        assert answer["X-RateLimit-Limit"] == str(LIMIT)
        assert answer["X-RateLimit-Remaining"] == str(LIMIT - used)
        assert int(answer["X-RateLimit-Reset"]) > timezone.now().timestamp()
    refused = client.get("/deployments", headers={"X-API-Key": key})
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    assert refused["X-RateLimit-Remaining"] == "0"
    assert refused.json()["error"]["code"] == "rate_limited"
    assert refused.json()["detail"] == refused.json()["error"]["message"]


def test_keys_do_not_share_calls(client: Client) -> None:
    first, second = make_api_key()[1], make_api_key()[1]
    assert statuses(client, "/deployments", LIMIT + 1, **{"X-API-Key": first})[-1] == 429
    assert client.get("/deployments", headers={"X-API-Key": second}).status_code == 200


def test_webhooks_of_flagger_count_on_the_key_in_their_metadata(client: Client) -> None:
    def call(key: str, **headers: str) -> int:
        body = {"metadata": {"key": key, "env": "nowhere"}}
        path = "/gate/flagger/rollback"
        return client.post(path, body, content_type="application/json", headers=headers).status_code

    first, second = make_api_key()[1], make_api_key()[1]
    assert [call(first) for _ in range(LIMIT + 1)] == [400] * LIMIT + [429]
    # The cluster's address has a second project, and its key in a header is the same caller.
    assert [call(second), call("", **{"X-API-Key": second})] == [400, 400]
    assert statuses(client, "/deployments", 2, **{"X-API-Key": second}) == [200, 429]
    # What has no known key counts on the address, which none of these did.
    wrong: list[Any] = [{"metadata": {"key": "sp_unknown"}}, [], "{"]
    found = [client.post("/gate/flagger/rollback", body, content_type="application/json") for body in [*wrong, "7"]]
    assert [answer.status_code for answer in found] == [401, 401, 400, 429]
    assert found[-1].json()["gate"] == "pending"


def test_unknown_keys_count_on_the_address_however_many_there_are(client: Client) -> None:
    found = [
        client.get("/deployments", headers={"X-API-Key": f"sp_unknown{number}"}).status_code
        for number in range(LIMIT + 1)
    ]
    assert found == [401] * LIMIT + [429]
    # Without a key, from another URL of the group: still the same client.
    assert client.post("/deployments/trigger").status_code == 429
    assert client.get("/deployments", headers={"X-API-Key": make_api_key()[1]}).status_code == 200


def test_a_revoked_key_counts_on_the_address(client: Client) -> None:
    key, secret = make_api_key()
    key.revoke()
    assert statuses(client, "/deployments", LIMIT + 1, **{"X-API-Key": secret})[-1] == 429
    assert client.get("/deployments").status_code == 429


@pytest.mark.parametrize("path", ["/sdh", "/api/schema"])
def test_the_rest_of_the_api_has_a_limit_of_its_own(client: Client, path: str) -> None:
    _, key = make_api_key()
    assert statuses(client, path, LIMIT + 1, **{"X-API-Key": key})[-1] == 429
    assert client.get("/deployments", headers={"X-API-Key": key}).status_code == 200


def test_sign_in_is_limited_by_address_whatever_headers_come(client: Client) -> None:
    _, key = make_api_key()
    tricks = [
        {},
        {"X-API-Key": key},
        {"X-Forwarded-For": "192.0.2.7"},
        {"X-Real-IP": "192.0.2.8", "Forwarded": "for=192.0.2.9", "X-API-Key": "sp_other"},
        {"X-HTTP-Method-Override": "GET"},
    ]
    found = [sign_in(client, f"user{number}", headers=trick) for number, trick in enumerate(tricks)]
    assert found == [200] * LIMIT + [429] * (len(tricks) - LIMIT)


# URLs of django-allauth that neither take a password or a code nor send a mail.
HARMLESS = {
    "account_logout",
    "account_inactive",
    "mfa_index",
    "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes",
    "mfa_download_recovery_codes",
    "mfa_list_webauthn",
    "mfa_add_webauthn",
    "mfa_edit_webauthn",
    "mfa_remove_webauthn",
    "usersessions_list",
    "socialaccount_login_cancelled",
    "socialaccount_login_error",
    "socialaccount_connections",
    "github_login",
    "github_callback",
    "google_login",
    "google_callback",
    "google_login_by_token",
}
VALUES = {"key": "abc", "uidb36": "1", "pk": 1}


def allauth_addresses(patterns: Any = allauth.urls.urlpatterns) -> Iterator[tuple[str, str]]:
    """Yield name and URL of every page of django-allauth."""
    for entry in patterns:
        if isinstance(entry, URLResolver):
            yield from allauth_addresses(entry.url_patterns)
        elif entry.name:
            wanted = entry.pattern.regex.groupindex
            yield entry.name, reverse(entry.name, kwargs={name: VALUES[name] for name in wanted} | inherited(entry))


def inherited(entry: URLPattern) -> dict[str, Any]:
    """Return the arguments that the URL inherits from its parents."""
    return {"pk": 1} if entry.name in ("mfa_edit_webauthn", "mfa_remove_webauthn") else {}


def test_all_that_takes_a_password_or_a_code_or_sends_a_mail_is_limited_as_the_login_is() -> None:
    names = dict(allauth_addresses())
    assert set(names) >= HARMLESS
    unlimited = set()
    for number, (name, address) in enumerate(names.items()):
        request = request_of(address, f"192.0.2.{number}")
        groups = {group for group, _ in buckets_of(request, limit_of(request))}
        if groups != {"login"}:
            unlimited.add(name)
    assert unlimited == HARMLESS


def request_of(path: str, address: str) -> Any:
    request = RequestFactory().post(path, REMOTE_ADDR=address)
    request.session, request.user = SessionBase(), AnonymousUser()
    return request


@pytest.mark.parametrize("path", ["/nowhere", "/dashboard/nowhere/", "/deployments/nowhere", "/api/nowhere"])
def test_an_address_without_a_view_is_limited(client: Client, path: str) -> None:
    assert statuses(client, path, LIMIT + 1) == [404] * LIMIT + [429]


def test_a_signed_in_user_is_limited_by_user_and_not_by_address(client: Client) -> None:
    client.force_login(make_user())
    form = {"oldpassword": "wrong"}
    found = [client.post("/accounts/password/change/", form).status_code for _ in range(LIMIT + 1)]
    assert found == [200] * LIMIT + [429]
    assert sign_in(Client(), "grace") == 200


def test_one_account_is_limited_from_all_addresses(client: Client) -> None:
    spellings = ["Ian", "ian", " IAN ", "\uff49an", "\u0131an"]
    found = [
        sign_in(client, spelling, REMOTE_ADDR=f"192.0.2.{number}") for number, spelling in enumerate(spellings, start=1)
    ]
    assert found == [200] * LIMIT + [429, 429]
    assert sign_in(client, "grace", REMOTE_ADDR="192.0.2.77") == 200


def test_guesses_elsewhere_do_not_lock_a_known_browser_out(client: Client) -> None:
    user = make_user(username="ada", email="ada@example.org")
    assert sign_in(client, "ada", typed=PASSWORD, REMOTE_ADDR="198.51.100.1") == 302
    client.post("/accounts/logout/")
    for number in range(LIMIT + 1):
        sign_in(Client(), "ada", REMOTE_ADDR=f"203.0.113.{number}")
    assert sign_in(Client(), "ada", typed=PASSWORD, REMOTE_ADDR="198.51.100.2") == 429
    # By any name of the account; tries in that browser count as well, whichever name they use.
    assert sign_in(client, "ADA@example.org", typed=PASSWORD, REMOTE_ADDR="198.51.100.3") == 302
    client.post("/accounts/logout/")
    tries = [sign_in(client, "ada", REMOTE_ADDR=f"198.51.100.{10 + number}") for number in range(LIMIT)]
    assert tries == [200] * (LIMIT - 1) + [429]
    assert client.cookies[COOKIE.name]["httponly"]
    # It does not apply to other accounts, and cannot be forged.
    make_user(username="grace")
    for number in range(LIMIT + 1):
        sign_in(Client(), "grace", REMOTE_ADDR=f"203.0.113.{100 + number}")
    assert sign_in(client, "grace", typed=PASSWORD, REMOTE_ADDR="198.51.100.4") == 429
    forged = Client()
    forged.cookies[COOKIE.name] = f"made-up:{user.pk}"
    assert sign_in(forged, "ada", typed=PASSWORD, REMOTE_ADDR="198.51.100.5") == 429


@pytest.mark.parametrize(
    ("changes", "added", "names"),
    [
        # What an account holder can do to be called as the victim is.
        ({}, "root@example.org", ["root", "root@example.org", "ROOT@Example.org"]),
        ({"username": "root@example.org"}, "", ["root", "root@example.org"]),
        ({"username": "Root"}, "", ["root"]),
        ({"username": "\uff52oot"}, "", ["root", "root@example.org"]),
        ({"email": "root@example.org"}, "root@example.org", ["root", "root@example.org"]),
    ],
)
def test_no_account_lifts_the_limit_of_another(changes: dict[str, str], added: str, names: list[str]) -> None:
    root = make_user(username="root", email="root@example.org")
    eve = make_user(**{"username": "eve", **changes})
    if added:
        EmailAddress.objects.create(user=eve, email=added, verified=False, primary=added == eve.email)
    assert all((named := account_named(name)) is not None and named.user == root for name in names)
    guesses = 0
    for number in range(3):
        browser = Client()
        browser.cookies[COOKIE.name] = cookie_of(eve)
        guesses += [
            sign_in(browser, names[tried % len(names)], REMOTE_ADDR=f"203.0.113.{number * 10 + tried}")
            for tried in range(LIMIT)
        ].count(200)
    assert guesses == LIMIT


def test_all_forms_and_names_of_an_account_share_its_counter(settings: Any) -> None:
    settings.SEQPULSE_SIGNUP_OPEN = True
    make_user(username="ada", email="ada@example.org")
    forms = [
        (LOGIN, {"login": "ADA", "password": "wrong"}),
        ("/accounts/password/reset/", {"email": "Ada@example.org"}),
        ("/accounts/signup/", {"email": "ada@\uff25xample.org", "password1": PASSWORD, "password2": PASSWORD}),
        (LOGIN, {"login": " ada@example.org ", "password": PASSWORD}),
    ]
    found = [
        Client().post(path, form, REMOTE_ADDR=f"192.0.2.{number}").status_code == 429
        for number, (path, form) in enumerate(forms)
    ]
    assert found == [False] * LIMIT + [True]


def cookie_of(user: User) -> str:
    """Return the cookie of a new browser in which the user has signed in."""
    response = HttpResponse()
    remember(response, None, user.pk)
    return response.cookies[COOKIE.name].value


def test_an_account_has_few_known_browsers() -> None:
    user = make_user(username="ada")
    found = []
    for number in range(20 * LIMIT):
        browser = Client()
        browser.cookies[COOKIE.name] = cookie_of(user)
        found.append(sign_in(browser, "ada", REMOTE_ADDR=f"203.0.113.{number}"))
    assert 1 <= found.count(200) <= LIMIT * BUCKETS


def test_an_address_is_refused_before_its_body_is_read(client: Client) -> None:
    for number in range(LIMIT):
        sign_in(client, f"user{number}")
    body = Unread()
    answer = client.generic("POST", LOGIN, **{"wsgi.input": body, "CONTENT_LENGTH": "1000"})
    assert answer.status_code == 429
    assert body.asked == 0


class Unread(BytesIO):
    """A body that counts how often it is asked for."""

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked += 1
        return super().read(size)


@pytest.mark.parametrize("beside", ["username", "email"])
def test_another_field_beside_the_account_does_not_lead_the_count_astray(client: Client, beside: str) -> None:
    forms = [{"login": "ada", "password": "wrong", beside: f"nobody{number}"} for number in range(LIMIT + 1)]
    found = [
        client.post(LOGIN, form, REMOTE_ADDR=f"192.0.2.{number}").status_code
        for number, form in enumerate(forms, start=1)
    ]
    assert found == [200] * LIMIT + [429]


def test_a_blocked_address_does_not_lock_accounts(client: Client) -> None:
    for number in range(LIMIT + 5):
        sign_in(client, "grace" if number >= LIMIT else f"user{number}")
    assert sign_in(client, "grace", REMOTE_ADDR="192.0.2.77") == 200


def test_a_right_password_does_not_help_once_the_limit_is_reached(client: Client) -> None:
    user = make_user()
    for _ in range(LIMIT):
        sign_in(client, user.username)
    answer = client.post(LOGIN, {"login": user.username, "password": PASSWORD})
    assert answer.status_code == 429
    assert b"Try again in" in answer.content
    assert "sessionid" not in answer.cookies


def test_pages_count_by_user(client: Client) -> None:
    client.force_login(make_user())
    assert statuses(client, "/dashboard/deployments/", LIMIT + 1) == [200] * LIMIT + [429]
    other = Client()
    other.force_login(make_user())
    assert other.get("/dashboard/deployments/").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/dashboard/teams/"),
        ("post", "/dashboard/projects/new"),
        ("post", f"/dashboard/projects/{UUID(int=7)}/environments/"),
        ("post", f"/dashboard/projects/{UUID(int=7)}/keys/"),
        ("post", "/dashboard/environments/1/policy/"),
        ("post", f"/dashboard/deployments/{UUID(int=7)}/replay/"),
        ("post", f"/dashboard/deployments/{UUID(int=7)}/rerun"),
        ("get", "/dashboard/deployments/csv/"),
        ("get", "/dashboard/deployments/json"),
    ],
)
def test_what_costs_or_leaves_much_has_a_limit_of_its_own(
    method: str, path: str, client: Client, settings: Any
) -> None:
    settings.SEQPULSE_RATES = {**settings.SEQPULSE_RATES, "dashboard": Rate(1000, 86400 * 365)}
    client.force_login(make_user())
    ask = getattr(client, method)
    assert [ask(path).status_code == 429 for _ in range(LIMIT + 1)] == [False] * LIMIT + [True]
    assert client.get("/dashboard/deployments/").status_code == 200


def test_creating_and_deleting_teams_does_not_raise_the_limit_of_mails(client: Client, settings: Any) -> None:
    settings.SEQPULSE_RATES = {**settings.SEQPULSE_RATES, "dashboard": Rate(1000, 86400 * 365)}
    user = make_user()
    client.force_login(user)
    found = []
    for number in range(LIMIT + 1):
        team = create_team("Friends", user)
        form = {"invite-email": f"stranger{number}@example.com", "invite-role": "viewer"}
        found.append(client.post(f"/dashboard/teams/{team.pk}/invitations", form).status_code)
        assert client.post(f"/dashboard/teams/{team.pk}/delete/", {"typed": "Friends"}).status_code == 302
    assert found == [302] * LIMIT + [429]
    assert len(mail.outbox) == LIMIT
    again = client.post(f"/dashboard/teams/{create_team('Friends', user).pk}/invitations/7/resend/")
    assert again.status_code == 429


def test_log_lines_about_a_users_calls_carry_the_user_id(client: Client) -> None:
    user = make_user()
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        client.get(LOGIN)
        client.force_login(user)
        client.get("/dashboard/deployments/")
        Client().get(LOGIN)
    finished = [line.get("user_id") for line in logs if line["event"] == "request_finished"]
    assert finished == [None, user.pk, None]


def test_behind_a_proxy_clients_are_distinguished(client: Client, settings: Any) -> None:
    settings.SEQPULSE_TRUSTED_PROXIES = [ip_network("127.0.0.1")]
    assert statuses(client, "/deployments", LIMIT + 1, **{"X-Forwarded-For": "192.0.2.7"})[-1] == 429
    assert statuses(client, "/deployments", 1, **{"X-Forwarded-For": "9.9.9.9, 192.0.2.7"}) == [429]
    assert statuses(client, "/deployments", 1, **{"X-Forwarded-For": "192.0.2.8"}) == [401]


def test_health_is_not_limited_and_carries_no_limit_headers(client: Client) -> None:
    answers = [client.get("/health") for _ in range(LIMIT + 2)]
    assert {answer.status_code for answer in answers} == {200}
    assert "X-RateLimit-Limit" not in answers[0]


def test_hostile_forms_do_not_break_the_count(client: Client) -> None:
    bodies: list[dict[str, Any]] = [
        {"data": {"login": "a\0b", "password": "x"}},
        {"data": b"\xff\xfe", "content_type": "application/x-www-form-urlencoded"},
        {"data": b"--x", "content_type": "multipart/form-data; boundary=x"},
    ]
    assert all(client.post(LOGIN, **body).status_code < 500 for body in bodies)


def test_switched_off_nothing_is_counted(client: Client, settings: Any) -> None:
    settings.SEQPULSE_RATE_LIMITS = False
    _, key = make_api_key()
    answer = client.get("/deployments", headers={"X-API-Key": key})
    assert "X-RateLimit-Limit" not in answer
    assert not RateCounter.objects.exists()


def test_counters_of_periods_that_are_over_go(client: Client) -> None:
    client.get("/deployments")
    RateCounter.objects.create(key="old", value=1, expires_at=timezone.now() - timedelta(seconds=1))
    assert forget_counters() == 1
    assert not RateCounter.objects.filter(key="old").exists()
    assert RateCounter.objects.count() == 1
