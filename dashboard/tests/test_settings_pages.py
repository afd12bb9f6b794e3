"""Personal settings: profile, language, theme, time zone, sessions."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from django.utils.formats import date_format

from accounts.models import Role, User
from accounts.tests.factories import PASSWORD, make_user
from dashboard.accounts.forms import zones_by_region
from dashboard.accounts.sessions import Device, device_of
from dashboard.templatetags.seqpulse import zone
from dashboard.tests import scenes
from dashboard.tests.pages import elements, form_with, fresh, has, page_of, queries_of, shows, words

pytestmark = pytest.mark.django_db

SETTINGS, SESSIONS, LANGUAGE = "/dashboard/settings/", "/dashboard/settings/sessions/", "/dashboard/language/"
FILLED_IN = {"username": "ada", "first_name": "", "last_name": "", "language": "", "theme": "", "time_zone": ""}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0"
    " Mobile/15E148 Safari/604.1"
)


def save(client: Client, **fields: str) -> Any:
    return client.post(SETTINGS, {**FILLED_IN, **fields}, follow=True)


# --- profile -------------------------------------------------------------------------------------------------------


def test_a_user_is_called_as_they_like(browser_of, user):
    assert "Saved." in words(save(browser_of, username="ada.l", first_name="Ada", last_name="Lovelace"))
    assert (fresh(user).username, user.get_full_name()) == ("ada.l", "Ada Lovelace")


def test_the_form_changes_nothing_but_what_it_shows(browser_of, user):
    save(browser_of, is_superuser="on", is_staff="on", email="eve@evil.example", password="x")
    before = (user.is_superuser, user.is_staff, user.email, user.password)
    assert (fresh(user).is_superuser, user.is_staff, user.email, user.password) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", ""),
        ("username", "\0"),
        ("username", "a" * 151),
        ("username", "<b>"),
        ("username", "GRACE"),
        ("first_name", "x" * 151),
        ("language", "xx"),
        ("theme", "neon"),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../../etc/passwd"),
        ("time_zone", "\0"),
    ],
)
def test_what_cannot_be_is_refused_beside_its_field(browser_of, user, field, value):
    make_user(username="grace")
    answer = save(browser_of, **{field: value})
    has(answer, f'id="id_{field}_error"')
    assert (fresh(user).username, user.time_zone, user.theme, user.language) == ("ada", "", "", "")
    # The frame still shows who is signed in, not what was typed.
    assert '<span class="top-name">ada</span>' in answer.content.decode()


def test_an_old_page_saves_only_what_was_changed_on_it(browser_of, user):
    old = form_with('[name="username"]', browser_of.get(SETTINGS))
    save(browser_of, language="fr", theme="dark", time_zone="Asia/Tokyo")
    browser_of.post(SETTINGS, {**old, "first_name": "Ada"})
    assert (fresh(user).first_name, user.language, user.theme, user.time_zone) == ("Ada", "fr", "dark", "Asia/Tokyo")


def test_of_two_who_take_a_name_at_once_one_is_refused(browser_of, user, monkeypatch):
    make_user(username="grace")
    # The look-up came before the other one had the name.
    monkeypatch.setattr("dashboard.accounts.forms.ProfileForm.clean_username", lambda form: "grace")
    monkeypatch.setattr("dashboard.accounts.forms.ProfileForm.validate_unique", lambda form: None)
    has(save(browser_of, username="grace"), 'id="id_username_error"')
    assert fresh(user).username == "ada"


@pytest.mark.parametrize(("path", "queries"), [(SETTINGS, 3), (SESSIONS, 4)])
def test_settings_take_a_fixed_number_of_queries(user, path, queries):
    here, _there = signed_in_with(FIREFOX), signed_in_with(IPHONE)
    assert queries_of(here, path) == queries


# --- language ------------------------------------------------------------------------------------------------------


def test_another_language_is_there_at_once(browser_of):
    has(save(browser_of, language="fr"), '<html lang="fr"')
    assert '<html lang="en"' in save(browser_of, language="en").content.decode()


def test_a_stranger_chooses_the_language_with_a_button(client):
    answer = client.post(LANGUAGE, {"language": "fr", "next": "/accounts/login/?next=/dashboard/"}, follow=True)
    assert answer.request["QUERY_STRING"] == "next=%2Fdashboard%2F"
    assert '<html lang="fr"' in answer.content.decode()
    cookie = client.cookies["django_language"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


@pytest.mark.parametrize("data", [{"language": "xx"}, {"language": "\0"}, {}, {"next": "//evil.example/"}])
def test_a_made_up_language_changes_nothing_and_leads_nowhere_else(client, data):
    answer = client.post(LANGUAGE, {"next": "https://evil.example/", **data})
    assert answer.status_code == 302
    assert "evil" not in answer["Location"]
    assert '<html lang="en"' in client.get("/accounts/login/").content.decode()


# --- theme ---------------------------------------------------------------------------------------------------------


def test_a_theme_is_on_every_page(browser_of):
    assert 'data-theme="dark"' in save(browser_of, theme="dark").content.decode()
    assert 'data-theme="dark"' in browser_of.get("/accounts/2fa/").content.decode()
    assert "data-theme" not in save(browser_of).content.decode()


# --- time zone -----------------------------------------------------------------------------------------------------


def test_times_are_in_the_users_zone_and_say_which(browser_of, user):
    environment = scenes.environment_of(user, role=Role.ADMIN)
    save(browser_of, time_zone="Asia/Tokyo")
    shows(browser_of.get(page_of(environment)), "From (JST)")
    day = (timezone.now() - timedelta(days=2)).date()
    start, end = datetime.combine(day, time(9)), datetime.combine(day, time(10))
    form = {"window-starts_at": f"{start:%Y-%m-%dT%H:%M}", "window-ends_at": f"{end:%Y-%m-%dT%H:%M}"}
    browser_of.post(f"/dashboard/environments/{environment.pk}/windows/", form)
    # Nine in Tokyo is midnight in UTC.
    assert environment.excluded_windows.get().starts_at == start.replace(hour=0, tzinfo=UTC)
    shown = date_format(start, "DATE_FORMAT")
    assert f"{shown}, 09:00 – {shown}, 10:00 JST" in words(browser_of.get(page_of(environment)))


@pytest.mark.parametrize(
    ("name", "month", "shown"),
    [("Europe/Paris", 1, "CET"), ("Europe/Paris", 7, "CEST"), ("America/Sao_Paulo", 1, "UTC-03"), ("UTC", 1, "UTC")],
)
def test_a_zone_is_called_what_it_is_called_then(name, month, shown):
    with timezone.override(name):
        assert zone(datetime(2026, month, 1, tzinfo=UTC)) == shown


@pytest.mark.parametrize(
    ("device", "chosen", "shown"),
    [
        ("Asia/Tokyo", "", "JST"),
        ("Asia/Tokyo", "UTC", "UTC"),
        ("Asia/Tokyo", "Asia/Kolkata", "IST"),
        *((wrong, "", "UTC") for wrong in ("Mars/Olympus", "../../etc/passwd", "", "JST; path=/")),
    ],
)
def test_who_chose_no_zone_gets_that_of_the_device(browser_of, user, device, chosen, shown):
    environment = scenes.environment_of(user, role=Role.ADMIN)
    User.objects.filter(pk=user.pk).update(time_zone=chosen)
    browser_of.cookies["device_zone"] = device
    shows(browser_of.get(page_of(environment)), f"From ({shown})")


def test_every_zone_that_is_offered_can_be_chosen(browser_of, user):
    offered = [name for _, names in zones_by_region() for name, _city in names]
    assert len(offered) > 350
    assert len(set(offered)) == len(offered)
    save(browser_of, time_zone="America/Indiana/Knox")
    assert fresh(user).time_zone == "America/Indiana/Knox"


def test_a_zone_that_is_not_offered_stays_what_it_is(browser_of, user):
    User.objects.filter(pk=user.pk).update(time_zone="US/Pacific")
    save(browser_of, time_zone="US/Pacific", first_name="Ada")
    assert (fresh(user).time_zone, user.first_name) == ("US/Pacific", "Ada")


# --- sessions ------------------------------------------------------------------------------------------------------


def signed_in_with(user_agent: str, address: str = "192.0.2.7", login: str = "ada") -> Client:
    client = Client(HTTP_USER_AGENT=user_agent, REMOTE_ADDR=address)
    client.post("/accounts/login/", {"login": login, "password": PASSWORD})
    return client


def test_sessions_are_listed_in_words(user):
    here, there = signed_in_with(FIREFOX), signed_in_with(IPHONE, "2001:db8::9")
    page = words(here.get(SESSIONS))
    assert page.index("Firefox on Linux This one") < page.index("Safari on iPhone")
    assert "2001:db8::9" in page
    assert str(there.session.session_key) not in here.get(SESSIONS).content.decode()


def test_of_many_sessions_those_used_last_are_listed(user, browser_of):
    rows = [UserSession(user=user, ip="192.0.2.1", session_key=f"other{n}", user_agent="") for n in range(120)]
    UserSession.objects.bulk_create(rows)
    Session.objects.bulk_create(
        [Session(session_key=row.session_key, expire_date=timezone.now() + timedelta(days=1)) for row in rows]
    )
    page = browser_of.get(SESSIONS)
    assert "Listed are the 100 that were used last" in words(page)
    assert len(elements(page, "ul.rows > li")) == 100


def test_one_session_is_ended(user):
    here, there, third = (signed_in_with(FIREFOX) for _ in range(3))
    row = UserSession.objects.get(session_key=there.session.session_key)
    here.post(f"{SESSIONS}{row.pk}/end/")
    assert there.get(SETTINGS).status_code == 302
    assert third.get(SETTINGS).status_code == 200


def test_all_other_sessions_are_ended(user):
    here, there, third = (signed_in_with(FIREFOX) for _ in range(3))
    assert "2 other places" in words(here.post(f"{SESSIONS}end/", follow=True))
    assert [client.get(SETTINGS).status_code for client in (here, there, third)] == [200, 302, 302]


def test_when_a_session_was_used_is_written_down_once_in_a_while(user):
    client = signed_in_with(FIREFOX)
    long_ago = timezone.now() - timedelta(hours=3)
    UserSession.objects.update(last_seen_at=long_ago)
    User.objects.update(last_login=long_ago)
    cache.clear()
    client.get(SETTINGS, REMOTE_ADDR="192.0.2.99")
    row = UserSession.objects.get()
    assert row.last_seen_at > timezone.now() - timedelta(minutes=1)
    assert row.ip == "192.0.2.99"
    assert queries_of(client, SETTINGS) == 3


def test_a_session_from_before_they_were_listed_is_listed(browser_of):
    UserSession.objects.all().delete()
    assert "This one" in words(browser_of.get(SESSIONS))


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        (FIREFOX, Device("Firefox", "Linux")),
        (IPHONE, Device("Safari", "iPhone")),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit Chrome/140.0 Safari/537.36 Edg/140.0", Device("Edge", "Windows")),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14) Chrome/140 Safari/537.36", Device("Chrome", "macOS")),
        ("Mozilla/5.0 (Linux; Android 15) SamsungBrowser/28 Chrome/130", Device("Samsung Internet", "Android")),
        ("curl/8.5.0", Device("curl", "")),
        ("", Device("", "")),
        ("<script>", Device("", "")),
    ],
)
def test_a_browser_is_called_what_its_owner_calls_it(user_agent, device):
    assert device_of(user_agent) == device
