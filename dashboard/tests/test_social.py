"""Sign-in with a provider: a real local OAuth server in place of GitHub."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
from django.test import Client

from accounts.models import User
from accounts.tests.factories import PASSWORD, make_user
from dashboard.tests.pages import shows, words

pytestmark = pytest.mark.django_db

LOGIN, START, BACK = "/accounts/login/", "/accounts/github/login/", "/accounts/github/login/callback/"
SECRET = "the client's secret"


class Provider(BaseHTTPRequestHandler):
    """The used part of GitHub: exchanges a code for a token, and the token for user and addresses."""

    person: ClassVar[dict[str, Any]] = {"id": 7, "login": "ada", "name": "Ada Lovelace"}
    emails: ClassVar[list[dict[str, Any]]] = [{"email": "ada@example.org", "primary": True, "verified": True}]
    asked: ClassVar[list[dict[str, list[str]]]] = []

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.asked.append(form)
        right = form["code"] == ["right"] and form["client_secret"] == [SECRET]
        self.answer({"access_token": "token"} if right else {"error": "bad_verification_code"})

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "token token"
        self.answer(self.emails if self.path.endswith("emails") else self.person)

    def answer(self, body: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: Any) -> None:
        """Nothing on the screen."""


@pytest.fixture
def github(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Provider]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    here = f"http://127.0.0.1:{server.server_port}"
    settings.SOCIALACCOUNT_PROVIDERS = {
        "github": {"APPS": [{"client_id": "client", "secret": SECRET}], "OAUTH_PKCE_ENABLED": True}
    }
    for name in ("access_token", "authorize", "profile", "emails"):
        monkeypatch.setattr(GitHubOAuth2Adapter, f"{name}_url", f"{here}/{name}")
    yield Provider
    server.shutdown()
    thread.join()
    server.server_close()
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
    answer = come_back(client, begun(client, next="/dashboard/hints/"))
    assert answer["Location"] == "/dashboard/hints/"
    user = User.objects.get()
    assert (user.username, user.email, user.has_usable_password()) == ("ada", "ada@example.org", False)
    assert "code_verifier" in github.asked[0]
    client.post("/accounts/logout/")
    come_back(client, begun(client))
    assert client.session["_auth_user_id"] == str(user.pk)


def test_somebody_elses_address_at_the_provider_opens_nobodys_account(client, github, settings):
    settings.SEQPULSE_SIGNUP_OPEN = True
    make_user(username="ada", email="ada@example.org")
    come_back(client, begun(client))
    assert "_auth_user_id" not in client.session
    assert not SocialAccount.objects.exists()


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


def test_a_wrong_code_and_a_refusal_are_told(client, github):
    assert "_auth_user_id" not in client.session
    wrong = come_back(client, begun(client), code="wrong")
    assert wrong.status_code in (200, 401)
    state = begun(client)
    refused = client.get(BACK, {"error": "access_denied", "state": state}, follow=True)
    assert refused.status_code == 200
    assert "_auth_user_id" not in client.session
