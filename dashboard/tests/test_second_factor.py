"""Second factors: codes of an app, recovery codes, passkeys, and how their secrets lie; signing in through others."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
from cryptography.fernet import Fernet
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection
from django.test import Client, RequestFactory

from accounts.models import User
from dashboard.accounts.mfa import MOST_PASSKEYS, AddPasskeyForm, spend
from dashboard.accounts.views import CHALLENGE
from dashboard.tests.account_forms import ACTIVATE, code_of, codes_of, set_up
from dashboard.tests.endpoints import Quiet, running
from dashboard.tests.pages import elements, shows, words
from security.counting import is_first_use
from security.limits import Rate
from security.rotation import rotate
from tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

LOGIN, SECOND = "/accounts/login/", "/accounts/2fa/authenticate/"
CODES = "/accounts/2fa/recovery-codes/"


def password_of(client: Client, **headers: Any) -> Any:
    """The first step of signing in."""
    return client.post(LOGIN, {"login": "ada", "password": PASSWORD}, **headers)


def send_code(client: Client, code: str, **headers: Any) -> bool:
    """Return whether the code lets the user in."""
    return client.post(SECOND, {"code": code}, **headers).status_code == 302


@pytest.fixture
def ada() -> User:
    return make_user(username="ada", email="ada@example.org")


@pytest.fixture
def app(ada: User, client: Client) -> tuple[str, list[str]]:
    password_of(client)
    return set_up(client)


def test_setting_up_wants_a_code_of_the_app(client, ada):
    password_of(client)
    client.get(ACTIVATE)
    assert "Incorrect code" in words(client.post(ACTIVATE, {"code": "000000"}))
    assert not Authenticator.objects.exists()


def test_a_password_alone_no_longer_lets_in(app):
    secret, _ = app
    fresh = Client()
    assert password_of(fresh)["Location"] == SECOND
    assert fresh.get("/dashboard/").status_code == 302
    assert fresh.get("/admin/login/")["Location"].startswith(LOGIN)
    assert not send_code(fresh, "000000")
    assert "_auth_user_id" not in fresh.session
    assert send_code(fresh, code_of(secret))
    assert fresh.get("/dashboard/").status_code == 200


def test_a_code_is_good_once_whichever_process_it_reaches(app):
    secret, _ = app
    code = code_of(secret)
    first, second, third = Client(), Client(), Client()
    for each in (first, second, third):
        password_of(each)
    assert send_code(first, code)
    # Another process has a cache of its own.
    cache.clear()
    assert not send_code(second, code)
    assert not send_code(second, code_of(secret, -1))
    cache.clear()
    assert send_code(third, code_of(secret, 1))


@pytest.mark.parametrize("steps", [-3, 3])
def test_old_and_future_codes_are_none(app, steps):
    fresh = Client()
    password_of(fresh)
    assert not send_code(fresh, code_of(app[0], steps))


def test_recovery_codes_are_shown_once_and_each_is_good_once(app, client):
    _, codes = app
    assert len(set(codes)) == 10
    again = client.get(CODES)
    assert not any(code in again.content.decode() for code in codes)
    assert client.get(f"{CODES}download/").status_code == 403
    fresh, other = Client(), Client()
    password_of(fresh)
    password_of(other)
    assert send_code(fresh, codes[0])
    assert not send_code(other, codes[0])
    assert "9 codes are left" in words(client.get("/accounts/2fa/"))


def test_no_browser_keeps_a_page_that_shows_a_secret(client, ada):
    password_of(client)
    activate = client.get(ACTIVATE)
    assert re.search(r"<code[^>]*>[A-Z2-7 ]{16,}", activate.content.decode())
    set_up(client)
    pages = [activate, client.get(CODES), client.post(f"{CODES}generate/", follow=True)]
    assert [page.status_code for page in pages] == [200] * 3
    assert ["no-store" in page.get("Cache-Control", "") for page in pages] == [True] * 3


def test_new_recovery_codes_end_the_old_ones(app, client):
    page = client.post(f"{CODES}generate/", follow=True)
    new = codes_of(page)
    assert len(new) == 10
    assert elements(page, f'[href^="data:text/plain;charset=utf-8,{new[0]}%0A"]')
    fresh = Client()
    password_of(fresh)
    assert not send_code(fresh, app[1][0])
    assert send_code(fresh, new[0])


def test_guessing_codes_is_limited_by_account_from_all_addresses(app, settings):
    settings.SEQPULSE_RATE_LIMITS = True
    settings.SEQPULSE_RATES = {**settings.SEQPULSE_RATES, "login": Rate(3, 86400 * 365)}
    fresh = Client()
    password_of(fresh, REMOTE_ADDR="192.0.2.1")
    # Whatever account the form names beside the code.
    forms = [{"code": "000000"}, *({"code": "000000", "login": f"nobody{n}"} for n in range(4))]
    found = [fresh.post(SECOND, form, REMOTE_ADDR=f"192.0.2.{n}").status_code for n, form in enumerate(forms, start=2)]
    assert found == [200, 200, 200, 429, 429]


def stored() -> str:
    """Return the stored data of second factors and sessions."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(data::text, ' ') FROM mfa_authenticator")
        return str(cursor.fetchone()[0]) + " ".join(str(row.get_decoded()) for row in Session.objects.all())


def test_secrets_lie_encrypted(app):
    secret, codes = app
    assert Authenticator.objects.count() == 2
    text = stored()
    assert secret not in text
    assert not any(code in text for code in codes)


def test_secrets_are_encrypted_anew_with_new_keys(app, settings):
    secret, codes = app
    old, new = settings.SEQPULSE_ENCRYPTION_KEYS[0], Fernet.generate_key().decode()
    settings.SEQPULSE_ENCRYPTION_KEYS = [new, old]
    done = rotate()
    assert (done.changed, done.unreadable) == (2, [])
    assert rotate().current == 2
    settings.SEQPULSE_ENCRYPTION_KEYS = [new]
    for code in (code_of(secret), codes[3]):
        fresh = Client()
        password_of(fresh)
        assert send_code(fresh, code)


def test_a_code_that_is_spent_while_keys_change_does_not_bring_the_old_secret_back(app, settings):
    read_before = Authenticator.objects.get(type=Authenticator.Type.TOTP)
    old, new = settings.SEQPULSE_ENCRYPTION_KEYS[0], Fernet.generate_key().decode()
    settings.SEQPULSE_ENCRYPTION_KEYS = [new, old]
    rotate()
    code = code_of(app[0])
    assert spend(read_before, code)
    settings.SEQPULSE_ENCRYPTION_KEYS = [new]
    assert not spend(Authenticator.objects.get(pk=read_before.pk), code)
    assert spend(Authenticator.objects.get(pk=read_before.pk), code_of(app[0], 1))


def test_a_key_that_is_missing_is_reported_by_place_without_the_secret(app, settings):
    settings.SEQPULSE_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    ids = dict(Authenticator.objects.values_list("type", "pk"))
    assert rotate().unreadable == [
        f"mfa_authenticator.data.secret {ids['totp']}",
        f"mfa_authenticator.data.seed {ids['recovery_codes']}",
    ]


def test_turning_it_off_takes_the_codes_along(app, client):
    client.post("/accounts/2fa/totp/deactivate/")
    assert not Authenticator.objects.exists()
    assert password_of(Client())["Location"] == "/dashboard/"


def test_second_factors_of_others_are_not_found(app, client):
    other = make_user(username="eve")
    key = Authenticator.objects.create(user=other, type="webauthn", data={"name": "k", "credential": {}})
    for page in ("edit", "remove"):
        assert client.get(f"/accounts/2fa/webauthn/keys/{key.pk}/{page}/").status_code == 404


CREDENTIALS = [
    "",
    "null",
    "[]",
    '"x"',
    "{}",
    '{"id": 1}',
    '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {}}',
    '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {"userHandle": "' + "Y" * 4000 + '"}}',
    '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {"clientDataJSON": "e30", "authenticatorData": "YQ",'
    ' "signature": "YQ", "userHandle": "MQ", "attestationObject": "YQ"}}',
    "[" * 5000,
    "{" * 100,
]


@pytest.mark.parametrize("number", range(len(CREDENTIALS)))
def test_made_up_answers_of_a_security_key_are_wrong_ones(client, ada, number):
    credential = {"credential": CREDENTIALS[number]}
    stranger = Client()
    stranger.get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"})
    assert stranger.post("/accounts/2fa/webauthn/login/", credential)["Location"] == LOGIN
    assert "_auth_user_id" not in stranger.session
    password_of(client)
    client.get("/accounts/2fa/webauthn/add/")
    assert client.post("/accounts/2fa/webauthn/add/", {"name": "\0", **credential}).status_code == 200
    client.get("/accounts/2fa/webauthn/reauthenticate/")
    assert client.post("/accounts/2fa/webauthn/reauthenticate/", credential).status_code in (200, 302)
    assert not Authenticator.objects.exists()


def test_an_account_has_a_bounded_number_of_passkeys(ada):
    keys = [Authenticator(user=ada, type="webauthn", data={"name": f"{n}"}) for n in range(MOST_PASSKEYS)]
    Authenticator.objects.bulk_create(keys[1:])
    sent = {"name": "One more", "credential": "{}"}
    assert "at most" not in str(AddPasskeyForm(user=ada, data=sent).errors)
    keys[0].save()
    assert "at most 20 passkeys" in str(AddPasskeyForm(user=ada, data=sent).errors)


def test_a_challenge_of_a_passkey_login_lies_in_the_browser_and_is_good_for_one_answer(client):
    client.get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"})
    state = client.cookies[CHALLENGE.name].value
    assert "challenge" in state
    assert not Session.objects.exists()
    client.post("/accounts/2fa/webauthn/login/", {"credential": "{}"})
    assert not client.cookies[CHALLENGE.name].value
    assert not Session.objects.exists()
    again = RequestFactory().get("/")
    again.COOKIES[CHALLENGE.name] = state
    assert not is_first_use(CHALLENGE.name, CHALLENGE.read(again), CHALLENGE.max_age_s)
    assert is_first_use(CHALLENGE.name, "another", CHALLENGE.max_age_s)


# --- signing in through GitHub or Google ---


START, BACK = "/accounts/github/login/", "/accounts/github/login/callback/"
SECRET = "the client's secret"


class Provider(Quiet, BaseHTTPRequestHandler):
    """The used part of GitHub: exchanges a code for a token, and the token for user and addresses."""

    account: ClassVar[dict[str, Any]] = {"id": 7, "login": "ada", "name": "Ada Lovelace"}
    emails: ClassVar[list[dict[str, Any]]] = [{"email": "ada@example.org", "primary": True, "verified": True}]
    asked: ClassVar[list[dict[str, list[str]]]] = []

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.asked.append(form)
        right = form["code"] == ["right"] and form["client_secret"] == [SECRET]
        self.answer({"access_token": "token"} if right else {"error": "bad_verification_code"})

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "token token"
        self.answer(self.emails if self.path.endswith("emails") else self.account)

    def answer(self, body: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


@pytest.fixture
def github(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Provider]]:
    settings.SOCIALACCOUNT_PROVIDERS = {
        "github": {"APPS": [{"client_id": "client", "secret": SECRET}], "OAUTH_PKCE_ENABLED": True}
    }
    with running(Provider) as here:
        for name in ("access_token", "authorize", "profile", "emails"):
            monkeypatch.setattr(GitHubOAuth2Adapter, f"{name}_url", f"{here}/{name}")
        yield Provider
    Provider.asked.clear()


def begun(client: Client, **form: str) -> str:
    """Follow the button; return the state that the provider has to send back."""
    answer = client.post(START, form)
    assert answer.status_code == 302
    query = parse_qs(urlsplit(answer["Location"]).query)
    assert query["client_id"] == ["client"]
    assert query["code_challenge_method"] == ["S256"]
    assert SECRET not in answer["Location"]
    return query["state"][0]


def come_back(client: Client, state: str, code: str = "right") -> Any:
    return client.get(BACK, {"code": code, "state": state})


def test_the_button_is_there_only_where_the_provider_is_set(client):
    shows(client.get(LOGIN), without=["GitHub"])
    for send in (client.get, client.post):
        assert send(START).status_code == 404
        assert send(BACK, {"code": "x", "state": "y"}).status_code == 404


def test_the_pages_never_show_the_secret(client, github):
    page = client.get(LOGIN)
    assert "Continue with GitHub" in words(page)
    assert SECRET not in page.content.decode()


def test_who_is_new_gets_no_account_while_sign_up_is_closed(client, github):
    shows(come_back(client, begun(client)), "for people who were invited")
    assert not User.objects.exists()


def test_who_is_new_gets_an_account_where_sign_up_is_open(client, github, settings):
    settings.SEQPULSE_SIGNUP_OPEN = True
    assert come_back(client, begun(client, next="/dashboard/hints/"))["Location"] == "/dashboard/hints/"
    user = User.objects.get()
    assert (user.username, user.email, user.has_usable_password()) == ("ada", "ada@example.org", False)
    assert "code_verifier" in github.asked[0]
    client.post("/accounts/logout/")
    come_back(client, begun(client))
    assert client.session["_auth_user_id"] == str(user.pk)


def test_another_users_address_at_the_provider_opens_no_account(client, github, settings):
    settings.SEQPULSE_SIGNUP_OPEN = True
    make_user(username="ada", email="ada@example.org")
    come_back(client, begun(client))
    assert "_auth_user_id" not in client.session
    assert not SocialAccount.objects.exists()


def test_an_address_that_others_claim_is_free_for_who_comes_with_it(client, github, settings):
    settings.SEQPULSE_SIGNUP_OPEN = True
    EmailAddress.objects.create(user=make_user(username="eve"), email="ada@example.org")
    form = come_back(client, begun(client))["Location"]
    assert "ada@example.org" in client.get(form).content.decode()
    assert client.post(form, {"email": "ada@example.org"})["Location"] == "/dashboard/"
    ada = User.objects.get(username="ada")
    assert client.session["_auth_user_id"] == str(ada.pk)
    assert EmailAddress.objects.get(verified=True).user == ada


def test_an_account_is_connected_used_and_disconnected(client, github):
    user = make_user(username="ada.l", email="ada@example.org")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    client.post(LOGIN, {"login": "ada.l", "password": PASSWORD})
    come_back(client, begun(client, process="connect"))
    account = SocialAccount.objects.get(user=user)
    assert "Connected accounts" in words(client.get("/dashboard/settings/"))
    other = Client()
    come_back(other, begun(other))
    assert other.session["_auth_user_id"] == str(user.pk)
    client.post("/accounts/3rdparty/", {"account": account.pk})
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize("state", ["", "wrong", "x" * 5000])
def test_a_wrong_state_is_refused_before_the_provider_is_asked(client, github, state):
    begun(client)
    assert come_back(client, state).status_code in (200, 401)
    assert "_auth_user_id" not in client.session
    assert github.asked == []


def test_a_state_is_of_one_browser_and_good_once(client, github, settings):
    settings.SEQPULSE_SIGNUP_OPEN = True
    state = begun(client)
    thief = Client()
    come_back(thief, state)
    assert "_auth_user_id" not in thief.session
    come_back(client, state)
    client.post("/accounts/logout/")
    come_back(client, state)
    assert "_auth_user_id" not in client.session


def test_a_wrong_code_and_a_refusal_are_reported(client, github):
    assert "_auth_user_id" not in client.session
    assert come_back(client, begun(client), code="wrong").status_code in (200, 401)
    state = begun(client)
    assert client.get(BACK, {"error": "access_denied", "state": state}, follow=True).status_code == 200
    assert "_auth_user_id" not in client.session
