"""A person with a project and a client that is signed in; Chromium for the browser tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from accounts.models import User
from accounts.tests.factories import make_user
from dashboard.tests import scenes
from dashboard.tests.browsing import PATIENCE_MS
from projects.models import Environment
from tests.system_tools import require


# The plugin keeps its own until the session ends. While it runs, this thread has a running event loop, in which
# Django refuses every query and asyncio.run() every call, in whichever tests come after. So: per module.
@pytest.fixture(scope="module")
def playwright(django_db_setup: None) -> Iterator[Playwright]:
    require("chromium")
    # Costs no test that passes any time.
    expect.set_options(timeout=PATIENCE_MS)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright, browser_type_launch_args: dict[str, Any]) -> Iterator[Browser]:
    """Debian's Chromium; without its sandbox, which does not work for root."""
    arguments = {**browser_type_launch_args, "executable_path": require("chromium"), "args": ["--no-sandbox"]}
    launched = playwright.chromium.launch(**arguments)
    yield launched
    launched.close()


@pytest.fixture
def browser_context_args() -> dict[str, Any]:
    return {"locale": "en-GB", "timezone_id": "UTC"}


@pytest.fixture
def site(page: Page, live_server: Any, user: User) -> Iterator[Page]:
    """A page that notes errors, refused answers and requests to other hosts; the test fails if there was any."""
    wrong: list[str] = []
    host = urlsplit(live_server.url).netloc

    def note(what: str, *, is_wrong: bool = True) -> None:
        if is_wrong:
            wrong.append(what)

    page.on("console", lambda message: note(message.text, is_wrong=message.type in ("error", "warning")))
    page.on("pageerror", lambda error: note(str(error)))
    page.on("request", lambda request: note(f"to {request.url}", is_wrong=urlsplit(request.url).netloc != host))
    page.on("response", lambda got: note(f"{got.status} {got.url}", is_wrong=got.status >= 400))
    yield page
    page.close()
    assert wrong == []


@pytest.fixture
def user() -> User:
    return make_user(username="ada")


@pytest.fixture
def environment(user: User) -> Environment:
    return scenes.environment_of(user)


@pytest.fixture
def browser_of(client: Client, user: User) -> Client:
    client.force_login(user)
    return client
