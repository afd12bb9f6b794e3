"""A person with a project and a client that is signed in; Chromium for the browser tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser, Playwright, sync_playwright

from dashboard.tests import scenes
from projects.models import Environment, User
from projects.tests.factories import make_user
from tests.system_tools import require


# The plugin keeps its own until the session ends. While it runs, this thread has a running event loop, in which
# Django refuses every query and asyncio.run() every call, in whichever tests come after. So: per module.
@pytest.fixture(scope="module")
def playwright(django_db_setup: None) -> Iterator[Playwright]:
    require("chromium")
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
def user() -> User:
    return make_user(username="ada")


@pytest.fixture
def environment(user: User) -> Environment:
    return scenes.environment_of(user)


@pytest.fixture
def browser_of(client: Client, user: User) -> Client:
    client.force_login(user)
    return client
