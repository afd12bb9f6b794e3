"""Error pages: in the style of the dashboard, with a next step, and without queries."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponseNotAllowed
from django.template import TemplateSyntaxError
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import make_user
from dashboard.tests.pages import elements, has, shows, words
from security.limits import Usage
from seqpulse import errors, limits
from seqpulse.errors import database_away
from seqpulse.middleware import WrongMethodMiddleware

pytestmark = pytest.mark.django_db

# How each page comes about, and its heading.
PAGES: dict[int, tuple[Callable[[HttpRequest], Any], str]] = {
    400: (lambda request: errors.bad_request(request, BadRequest()), "Bad request"),
    403: (lambda request: errors.permission_denied(request, PermissionDenied()), "Not allowed"),
    404: (lambda request: errors.page_not_found(request, Http404()), "Not found"),
    405: (WrongMethodMiddleware(lambda _request: HttpResponseNotAllowed(["POST"])), "Nothing to see here"),
    429: (lambda request: limits.too_many(request, Usage(limit=5, used=6, reset_at=0)), "A short pause"),
    500: (errors.server_error, "Something broke"),
    503: (database_away, "Back in a moment"),
}


def page_of(status: int, path: str = "/dashboard/", **options: Any) -> Any:
    """Return the page of this status, which must take no query. options: of `call`."""
    with CaptureQueriesContext(connection) as asked:
        page = PAGES[status][0](call(path, **options))
    assert len(asked) == 0
    return page


def call(path: str = "/dashboard/", *, user: Any = None, method: str = "get") -> HttpRequest:
    """Return a request of a loaded user; None: the user was not loaded."""
    request: Any = getattr(RequestFactory(), method)(path)
    if user is not None:
        request.user = request._cached_user = user
        request.session = {}
        request._messages = []
    return request  # type: ignore[no-any-return]


@pytest.mark.parametrize("status", PAGES)
def test_each_page_says_what_happened_and_what_to_do_next(status: int) -> None:
    page = page_of(status)
    shows(page, PAGES[status][1], status=status)
    assert elements(page, ".button.primary")


@pytest.mark.parametrize("status", [400, 403, 404, 405, 429, 500])
def test_a_signed_in_user_keeps_the_navigation(status: int) -> None:
    page = page_of(status, user=make_user(username="ada"))
    assert elements(page, ".top-nav")
    # The token of a form would make two equal answers differ.
    has(page, "ada", without=["csrfmiddlewaretoken"], status=status)


# The API answers 405 by itself (tests/test_hostile_inputs.py).
@pytest.mark.parametrize("status", [status for status in PAGES if status != 405])
def test_programs_are_answered_in_json(status: int) -> None:
    answer = page_of(status, "/deployments/x")
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")


def test_after_a_post_trying_again_leads_to_a_page_that_can_be_opened() -> None:
    page = page_of(429, "/dashboard/teams/1/leave/", method="post")
    assert elements(page, "a.button.primary[href='/']")
    has(page_of(429, "//evil.example/"), without=["evil.example"], status=429)


def test_a_navigation_that_breaks_leaves_a_page_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        is_authenticated = True

        def get_username(self) -> str:
            raise TemplateSyntaxError("broken")

    page = errors.server_error(call(user=Broken()))
    shows(page, "Something broke", status=500)
    assert not elements(page, ".top-nav")


def test_an_error_of_a_view_is_a_page_with_navigation(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(make_user(username="ada"))
    client.raise_request_exception = False

    def breaks(user: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("dashboard.teams.views.teams_of", breaks)
    page = client.get("/dashboard/teams/")
    shows(page, "Something broke", status=500)
    assert elements(page, ".top-nav")


def test_not_found_shows_the_user_and_not_the_requested_path(client: Client) -> None:
    client.force_login(make_user(username="ada"))
    one, other = client.get("/dashboard/teams/987/"), client.get("/dashboard/teams/654/")
    assert "You are signed in as ada." in words(one).replace("ada .", "ada.")
    assert one.content == other.content
    assert b"987" not in one.content


def test_the_address_of_a_form_has_a_page(client: Client) -> None:
    client.force_login(make_user(username="ada"))
    page = client.get("/dashboard/settings/sessions/end/")
    assert page["Allow"] == "POST"
    shows(page, "Nothing to see here", status=405)


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("http://testserver/dashboard/deployments/?q=main#x", "/dashboard/deployments/?q=main"),
        ("http://evil.example/dashboard/", "/dashboard/"),
        ("javascript:alert(1)", "/dashboard/"),
        ("", "/dashboard/"),
    ],
)
def test_a_form_sent_signed_out_leads_back_to_its_page(client: Client, referer: str, back: str) -> None:
    answer = client.post("/dashboard/settings/sessions/end/", HTTP_REFERER=referer)
    assert answer["Location"] == f"/accounts/login/?next={quote(back, safe='/')}"
    shows(client.get(answer["Location"]), "You were signed out, so nothing was saved.")


def test_a_form_that_is_too_old_says_so(client: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user())
    shows(strict.post("/dashboard/teams/", {"name": "x"}), "Please try again", status=403)


def test_error_pages_use_the_language_of_the_user(client: Client) -> None:
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "fr"
    assert elements(client.get("/nowhere/"), "html[lang=fr]")


@pytest.mark.parametrize(
    ("headers", "is_page"),
    [
        ({"Accept": "*/*"}, False),
        ({"Accept": "application/json"}, False),
        ({"X-API-Key": "x", "Accept": "text/html"}, False),
        ({"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, True),
        ({"Accept": "*/*", "HX-Request": "true"}, True),
        ({}, True),
    ],
)
def test_an_unknown_address_answers_programs_in_json(client: Client, headers: dict[str, str], is_page: bool) -> None:
    answer = client.get("/deployment/trigger", headers=headers)
    assert (answer.status_code, "html" in answer["Content-Type"]) == (404, is_page)


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/deployment/trigger", "/deployments/trigger"),
        ("/deployments/Triger/", "/deployments/trigger"),
        ("/deployments/0193fd5e-8a3c-7d21-9c55-3a1f0e6b7c42/verdicts", "/deployments/{id}/verdict"),
        ("/deployments/17/metrics", "/deployments/{id}/metrics"),
        ("/helth/live", "/health/live"),
        ("/api/v1/things", ""),
        ("/" + "x" * 5000, ""),
    ],
)
def test_an_unknown_address_names_the_one_that_is_meant(client: Client, path: str, near: str) -> None:
    asked = client.post(path, data="{}", content_type="application/json", headers={"X-API-Key": "x"})
    expected = f" Did you mean {near}?" if near else ""
    assert asked.json()["error"]["message"] == f"There is nothing at this address.{expected}"


def test_a_refused_host_name_names_the_setting_and_not_its_value(client: Client) -> None:
    for path in ("/dashboard/", "/deployments"):
        answer = client.get(path, headers={"Host": "elsewhere.example"})
        has(answer, "ALLOWED_HOSTS", without=["elsewhere.example", "testserver"], status=400)


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/live/"])
def test_health_checks_may_name_the_server_by_its_address(client: Client, path: str) -> None:
    client.force_login(make_user(is_staff=True))
    answer = client.get(path, headers={"Host": "10.1.2.3:8000"})
    assert (answer.status_code, set(answer.json())) == (200, {"status"})
    assert client.post(path, headers={"Host": "10.1.2.3:8000"}).status_code == 400


def test_all_other_addresses_refuse_a_host_that_is_not_allowed(client: Client) -> None:
    for path in ("/health/scheduler", "/metrics", "/db-check", "/health/live/x"):
        assert client.get(path, headers={"Host": "10.1.2.3"}).status_code == 400


def test_too_many_attempts_to_sign_in_name_their_limit_and_how_long_to_wait(client: Client) -> None:
    request = call("/accounts/login/", method="post")
    usage = Usage(limit=5, used=6, reset_at=int(time.time()) + 30, group="login")
    page = limits.too_many(request, usage)
    shows(page, "in 1 min for each account and from each address", "Try again in 30 seconds", status=429)
    shows(page, without=["at once"], status=429)
