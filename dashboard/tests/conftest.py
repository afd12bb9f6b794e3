"""A user with a project and a signed-in client; Chromium for browser tests."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from accounts.models import User
from accounts.tests.factories import make_user
from dashboard.tests import scenes
from dashboard.tests.browsing import PATIENCE_MS
from dashboard.tests.endpoints import Service, serving
from projects.models import Environment
from tests.system_tools import require


@contextmanager
def event_loop(playwright: Playwright) -> Iterator[None]:
    """Have Playwright's event loop run in this thread, and in no test but those with a browser.

    It would stay until the session ends, and Django refuses every query, asyncio.run() every call while one runs.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        asyncio._set_running_loop(playwright._loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    require("chromium")
    # Costs no test that passes any time.
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as running:
        asyncio._set_running_loop(None)
        yield running
        asyncio._set_running_loop(running._loop)


@pytest.fixture(scope="session")
def browser(playwright: Playwright, browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    """Debian's Chromium, one for all tests; without its sandbox, which does not work for root."""
    arguments = {**browser_type_launch_args, "executable_path": require("chromium"), "args": ["--no-sandbox"]}
    with event_loop(playwright):
        launched = playwright.chromium.launch(**arguments)
    yield launched
    with event_loop(playwright):
        launched.close()


@pytest.fixture
def browser_context_args(playwright: Playwright) -> Iterator[dict[str, Any]]:
    with event_loop(playwright):
        yield {"locale": "en-GB", "timezone_id": "UTC"}


@pytest.fixture
def site(page: Page, live_server: Any, user: User) -> Iterator[Page]:
    """A page that notes errors, refused answers and requests to other hosts; the test fails if there was any."""
    wrong: list[str] = []
    hosts = (urlsplit(live_server.url).hostname, "127.0.0.1")

    def note(what: str, *, is_wrong: bool = True) -> None:
        if is_wrong:
            wrong.append(what)

    page.on("console", lambda message: note(message.text, is_wrong=message.type in ("error", "warning")))
    page.on("pageerror", lambda error: note(str(error)))
    page.on("request", lambda request: note(f"to {request.url}", is_wrong=urlsplit(request.url).hostname not in hosts))
    page.on("response", lambda got: note(f"{got.status} {got.url}", is_wrong=got.status >= 400))
    yield page
    page.close()
    assert wrong == []


@pytest.fixture
def user() -> User:
    return make_user(username="ada")


@pytest.fixture
def environment(request: pytest.FixtureRequest, user: User) -> Environment:
    """Create an environment of the user, with the columns and the user's role of the mark `environment`."""
    mark = request.node.get_closest_marker("environment")
    return scenes.environment_of(user, **(mark.kwargs if mark else {}))


@pytest.fixture
def browser_of(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


@pytest.fixture
def staff(client: Client) -> Client:
    """Sign in a superuser."""
    client.force_login(make_user(username="root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def service(settings: Any) -> Iterator[Service]:
    """Run a metrics endpoint which may be called."""
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    with serving() as running:
        yield running
