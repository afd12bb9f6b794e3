"""Getting an account, getting back into it, and what strangers learn on the way: nothing."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.usersessions.models import UserSession
from django.conf import settings as django_settings
from django.core import mail
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from accounts.adapter import INVITATION
from accounts.models import Invitation, User
from accounts.tests.factories import PASSWORD, make_membership, make_team, make_user
from dashboard.tests.account_forms import NEW, SIGNUP, link_in
from dashboard.tests.pages import fresh, has, shows, words

pytestmark = pytest.mark.django_db

LOGIN, RESET = "/accounts/login/", "/accounts/password/reset/"
OVERVIEW = "/dashboard/"


@pytest.fixture
def open_signup(settings: Any) -> None:
    settings.SEQPULSE_SIGNUP_OPEN = True


def log_in(client: Client, login: str, password: str = PASSWORD, **data: str) -> Any:
    return client.post(LOGIN, {"login": login, "password": password, **data})


def signed_in(client: Client) -> str | None:
    """The id of who is signed in."""
    return client.session.get("_auth_user_id")


# --- signing up ----------------------------------------------------------------------------------------------------


def test_sign_up_is_closed_unless_the_setting_says_otherwise(client):
    shows(client.get(SIGNUP), "for people who were invited")
    assert "Create an account" not in words(client.get(LOGIN))
    client.post(SIGNUP, NEW)
    assert not User.objects.exists()


def invitation(**fields: Any) -> Invitation:
    team = make_team()
    fields.setdefault("invited_by", make_membership(team=team, role="owner", user=make_user(username="owner")).user)
    return Invitation.objects.create(team=team, email="grace@example.org", token_hash="0" * 64, **fields)


def carrying(client: Client, content: str) -> Client:
    response = HttpResponse()
    INVITATION.write(response, content)
    client.cookies.update(response.cookies)
    return client


def test_who_was_invited_signs_up_all_the_same_and_goes_back_to_the_invitation(client):
    carrying(client, str(invitation().pk))
    back = "/dashboard/teams/"
    assert "Create an account" in words(client.get(f"{LOGIN}?next={back}"))
    client.post(SIGNUP, {**NEW, "next": back})
    assert signed_in(client) is None
    confirm = link_in(mail.outbox[0], "confirm-email")
    assert "grace@example.org" in words(client.get(confirm))
    assert client.post(confirm)["Location"] == back
    assert signed_in(client) == str(User.objects.get(username="grace").pk)


def test_whose_sender_could_not_invite_any_more_opens_nothing(client):
    carrying(client, str(invitation().pk))
    assert "for people who were invited" not in words(client.get(SIGNUP))
    User.objects.update(is_active=False)
    assert "for people who were invited" in words(client.get(SIGNUP))
    Invitation.objects.update(invited_by=None)
    assert "for people who were invited" in words(client.get(SIGNUP))


def test_an_invitation_that_is_over_opens_nothing(client):
    over = invitation()
    carrying(client, str(over.pk))
    assert "for people who were invited" not in words(client.get(SIGNUP))
    # Nobody signed this one.
    client.cookies[INVITATION.name] = str(over.pk)
    assert "for people who were invited" in words(client.get(SIGNUP))
    Invitation.objects.update(revoked_at=timezone.now())
    for content in (str(over.pk), "1" * 30, "", "x", "-1", "²"):
        assert "for people who were invited" in words(carrying(client, content).get(SIGNUP))


@pytest.mark.usefixtures("open_signup")
def test_who_signs_up_proves_the_address_first(client):
    assert client.post(SIGNUP, NEW)["Location"] == "/accounts/confirm-email/"
    user = User.objects.get()
    assert (user.email, user.username) == ("grace@example.org", "grace")
    other = Client()
    assert log_in(other, "grace", NEW["password1"])["Location"] == "/accounts/confirm-email/"
    assert signed_in(other) is None
    confirm = link_in(mail.outbox[0], "confirm-email")
    assert Client().get(confirm).status_code == 200
    assert not EmailAddress.objects.get().verified
    assert client.post(confirm)["Location"] == OVERVIEW
    assert EmailAddress.objects.get().verified
    assert signed_in(client) == str(user.pk)
    assert log_in(other, "GRACE@example.org", NEW["password1"])["Location"] == OVERVIEW


@pytest.mark.usefixtures("open_signup")
def test_the_link_signs_no_one_in_who_did_not_sign_up_there(client):
    client.post(SIGNUP, NEW)
    stranger = Client()
    assert stranger.post(link_in(mail.outbox[0], "confirm-email"))["Location"] == LOGIN
    assert signed_in(stranger) is None


@pytest.mark.usefixtures("open_signup")
def test_signing_up_does_not_tell_who_has_an_account(client):
    make_user(username="grace", email="grace@example.org")
    known = client.post(SIGNUP, NEW)
    unknown = Client().post(SIGNUP, {**NEW, "email": "nobody@example.org"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert [message.to for message in mail.outbox] == [["grace@example.org"], ["nobody@example.org"]]
    assert "already" in mail.outbox[0].body
    assert User.objects.filter(email="grace@example.org").count() == 1


@pytest.mark.usefixtures("open_signup")
def test_an_address_that_others_claim_is_free_for_who_has_it(client):
    EmailAddress.objects.create(user=make_user(username="eve"), email="grace@example.org")
    client.post(SIGNUP, NEW)
    # Until it is verified it identifies no account: no password reset, but another sign-up is possible.
    other = Client()
    shows(log_in(other, "grace@example.org", NEW["password1"]), "not right")
    other.post(RESET, {"email": "grace@example.org"})
    assert "reset/key" not in mail.outbox[-1].body
    other.post(SIGNUP, NEW)
    assert User.objects.filter(email="grace@example.org").count() == 2
    for message in (mail.outbox[0], mail.outbox[-1]):
        client.post(link_in(message, "confirm-email"))
    assert EmailAddress.objects.get(verified=True).user == User.objects.get(username="grace")
    assert log_in(client, "grace@example.org", NEW["password1"])["Location"] == OVERVIEW


@pytest.mark.usefixtures("open_signup")
def test_names_from_addresses_do_not_collide(client):
    make_user(username="Grace")
    client.post(SIGNUP, NEW)
    assert User.objects.filter(username__iexact="grace").count() == 1
    assert User.objects.filter(email="grace@example.org").count() == 1


HOSTILE = ["\0", "a" * 10_000, "<script>", "' OR 1=1 --", "ada@example.org\r\nBcc: eve@evil.example", "\ud800", "ﬀ@x.y"]


@pytest.mark.usefixtures("open_signup")
@pytest.mark.parametrize("path", [SIGNUP, RESET, LOGIN, "/accounts/confirm-email/", "/accounts/2fa/authenticate/"])
def test_hostile_forms_are_refused_in_words(client, path):
    for value in HOSTILE:
        raw = value.encode("utf-8", "surrogatepass")
        fields = ("email", "login", "password", "password1", "password2", "code", "credential", "next")
        assert client.post(path, dict.fromkeys(fields, raw)).status_code in (200, 302, 400, 405), value
    assert mail.outbox == []


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/confirm-email/nothing/",
        "/accounts/confirm-email/" + "x" * 3000 + "/",
        "/accounts/password/reset/key/1-nothing/",
        f"/accounts/password/reset/key/{'z' * 13}-set-password/",
        f"/accounts/password/reset/key/{'z' * 300}-x/",
        "/accounts/2fa/webauthn/login/",
        "/accounts/github/login/",
        "/accounts/github/login/callback/?code=x&state=y",
        "/accounts/google/login/callback/?error=access_denied",
        "/accounts/3rdparty/signup/",
        "/accounts/",
        "/accounts/nothing/",
    ],
)
def test_made_up_links_never_break(client, path):
    assert client.get(path).status_code in (200, 302, 404)
    assert client.post(path).status_code in (200, 302, 404, 405)


# --- made on the server --------------------------------------------------------------------------------------------


def test_whom_ops_staff_made_comes_in_without_a_proof_of_the_address(client):
    call_command("createsuperuser", "--noinput", username="root", email="Root@Example.org")
    root = User.objects.get()
    assert root.email == "root@example.org"
    root.set_password(PASSWORD)
    root.save()
    # Anybody can ask for this mail, and it makes a row of the address.
    Client().post(RESET, {"email": "root@example.org"})
    assert EmailAddress.objects.filter(user=root, verified=False).exists()
    assert log_in(client, "root@example.org")["Location"] == OVERVIEW


def test_a_later_address_of_theirs_locks_no_one_out(client):
    user = make_user(username="root")
    log_in(client, "root")
    client.post("/accounts/email/", {"action_add": "", "email": "root@example.org"})
    assert EmailAddress.objects.filter(user=user, verified=False).exists()
    client.post("/accounts/email/", {"action_primary": "", "email": "root@example.org"})
    client.post("/accounts/logout/")
    assert log_in(client, "root")["Location"] == OVERVIEW


# --- the password --------------------------------------------------------------------------------------------------


def test_asking_for_a_new_password_does_not_tell_who_has_an_account(client):
    make_user(username="ada", email="ada@example.org")
    answers = [client.post(RESET, {"email": f"{name}@example.org"}) for name in ("ada", "nobody")]
    assert answers[0]["Location"] == answers[1]["Location"]
    assert [message.to for message in mail.outbox] == [["ada@example.org"], ["nobody@example.org"]]
    assert len({words(client.get(answer["Location"])) for answer in answers}) == 1


def test_a_new_password_by_mail_ends_every_session(client):
    user = make_user(username="ada", email="ada@example.org")
    thief = Client()
    log_in(thief, "ada")
    client.post(RESET, {"email": "ADA@example.org"})
    page = client.get(link_in(mail.outbox[0], "reset/key"), follow=True)
    form = page.request["PATH_INFO"]
    assert "http" not in form
    shows(client.post(form, {"password1": "short", "password2": "short"}), "too short")
    client.post(form, {"password1": NEW["password1"], "password2": NEW["password1"]})
    assert thief.get(OVERVIEW).status_code == 302
    assert fresh(user).check_password(NEW["password1"])
    assert log_in(client, "ada", NEW["password1"])["Location"] == OVERVIEW
    has(Client().get(link_in(mail.outbox[0], "reset/key"), follow=True), without=["password1"])


def test_changing_the_password_asks_for_the_old_one_and_signs_out_elsewhere(client):
    user = make_user(username="ada", email="ada@example.org")
    elsewhere = Client()
    log_in(client, "ada")
    log_in(elsewhere, "ada")
    path = "/accounts/password/change/"
    new = {"password1": NEW["password1"], "password2": NEW["password1"]}
    assert client.post(path, {"oldpassword": "wrong", **new}).status_code == 200
    assert elsewhere.get(OVERVIEW).status_code == 200
    assert client.post(path, {"oldpassword": PASSWORD, **new}).status_code == 302
    assert client.get(OVERVIEW).status_code == 200
    assert elsewhere.get(OVERVIEW).status_code == 302
    assert mail.outbox[-1].to == ["ada@example.org"]
    assert "password" in mail.outbox[-1].subject.lower()
    assert UserSession.objects.filter(user=user).count() == 1


def test_mails_are_from_us_plain_and_name_no_other_host(client):
    make_user(username="ada", email="ada@example.org")
    client.post(RESET, {"email": "ada@example.org"})
    message: Any = mail.outbox[0]
    assert message.from_email == django_settings.DEFAULT_FROM_EMAIL
    assert message.subject.startswith("[SeqPulse] ")
    assert message.alternatives == []
    assert set(re.findall(r"https?://([^/\s]+)", message.body)) == {"testserver"}


def test_a_mail_server_that_is_away_looks_the_same_to_everybody(client, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    make_user(username="ada", email="ada@example.org")
    answers = [client.post(RESET, {"email": f"{name}@example.org"}) for name in ("ada", "nobody")]
    assert [answer.status_code for answer in answers] == [302, 302]


# --- addresses -----------------------------------------------------------------------------------------------------


def test_no_one_takes_another_users_address(client):
    make_user(username="ada", email="ada@example.org")
    log_in(client, make_user(username="eve").username)
    answer = client.post("/accounts/email/", {"action_add": "", "email": "Ada@example.org"}, follow=True)
    assert not EmailAddress.objects.filter(user__username="eve", verified=True).exists()
    assert "Ada@example.org" not in words(answer)


def test_an_address_is_added_proved_made_primary_and_removed(client):
    user = make_user(username="ada", email="ada@example.org")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    log_in(client, "ada")
    path = "/accounts/email/"
    client.post(path, {"action_add": "", "email": "new@example.org"})
    client.post(path, {"action_primary": "", "email": "new@example.org"})
    assert EmailAddress.objects.get(primary=True).email == "ada@example.org"
    client.post(link_in(mail.outbox[-1], "confirm-email"))
    client.post(path, {"action_primary": "", "email": "new@example.org"})
    assert fresh(user).email == "new@example.org"
    assert mail.outbox[-1].to == ["ada@example.org"]
    client.post(path, {"action_remove": "", "email": "ada@example.org"})
    assert list(EmailAddress.objects.values_list("email", flat=True)) == ["new@example.org"]


def test_what_matters_asks_for_the_password_again_after_a_while(client, settings):
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0
    log_in(client, make_user(username="ada").username)
    answer = client.post("/accounts/email/", {"action_add": "", "email": "new@example.org"})
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert not EmailAddress.objects.exists()


def test_a_first_password_asks_for_the_proof_that_there_is(client, settings):
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 0
    user = make_user(username="ada")
    user.set_unusable_password()
    user.save()
    client.force_login(user)
    new, path = {"password1": "a fine long phrase", "password2": "a fine long phrase"}, "/accounts/password/set/"
    TOTP.activate(user, generate_totp_secret())
    for answer in (client.get(path), client.post(path, new)):
        assert answer["Location"] == f"/accounts/reauthenticate/?next={quote(path, safe='')}"
    assert client.get(answer["Location"])["Location"].startswith("/accounts/2fa/reauthenticate/")
    assert "fine long phrase" not in str(dict(client.session))
    # Nothing else proves who they are: they came through GitHub or Google.
    Authenticator.objects.all().delete()
    assert client.post(path, new).status_code == 302
    assert User.objects.get().check_password("a fine long phrase")


def test_an_address_without_a_proof_becomes_no_primary_one(client):
    user = make_user(username="ada", email="ada@example.org")
    log_in(client, "ada")
    path = "/accounts/email/"
    client.post(path, {"action_add": "", "email": "Boss@example.org"})
    answer = client.post(path, {"action_primary": "", "email": "Boss@example.org"}, follow=True)
    assert "Prove first that this address is yours" in words(answer)
    for hostile in ("\0", "", "x" * 9999):
        assert client.post(path, {"action_primary": "", "email": hostile}).status_code == 302
    assert fresh(user).email == "ada@example.org"
    assert not EmailAddress.objects.filter(email="boss@example.org", primary=True).exists()
    client.post(link_in(mail.outbox[-1], "confirm-email"))
    client.post(path, {"action_primary": "", "email": "boss@example.org"})
    assert EmailAddress.objects.get(primary=True).email == "boss@example.org"
