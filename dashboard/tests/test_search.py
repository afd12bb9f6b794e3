"""Search and the keyboard: what is found, by whom, and how one moves there."""

import re
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Page, expect

from accounts.models import Role, User
from dashboard.tests import scenes
from dashboard.tests.browsing import look, sign_in
from dashboard.tests.pages import HOSTILE, address, elements, queries_of, shows, words
from projects.models import Environment
from tests.factories import make_deployment, make_environment

SEARCH = "/dashboard/search/"


def titles(client: Client, text: str) -> list[str]:
    return [words(one) for one in elements(client.get(SEARCH, {"q": text}), ".found-title")]


@pytest.mark.django_db
@pytest.mark.environment(role=Role.ADMIN)
def test_what_is_found_by_which_words(browser_of: Client, environment: Environment) -> None:
    made = make_deployment(environment=environment, commit_sha="7c1f2ab", branch="feature/basket", version="2.1")
    number = f"#{made.number} shop prod"
    for text in (str(made.number), f"#{made.number}", "7c1f", "basket", "2.1", "shop basket"):
        assert any(title.startswith(number) for title in titles(browser_of, text)), text
    assert titles(browser_of, "PROD polic") == ["shop prod Policy"]
    assert titles(browser_of, "shop prod verify") == ["shop prod Verify now"]
    assert "shop" in titles(browser_of, "sho")
    assert titles(browser_of, "teams") == ["Teams"]
    assert titles(browser_of, "new proj") == ["New project"]
    # Without words the pages are offered.
    assert {"Overview", "Deployments", "New project"} <= set(titles(browser_of, " "))
    shows(browser_of.get(SEARCH, {"q": "nowhere to be found"}), "Nothing matches “nowhere to be found”.")


@pytest.mark.django_db
@pytest.mark.environment(role=Role.VIEWER)
def test_nobody_finds_what_is_of_others(browser_of: Client, environment: Environment) -> None:
    other = make_environment(name="secret")
    make_deployment(environment=other, branch="hidden")
    for text in ("secret", "hidden", other.project.name if other.project.name != "shop" else "secret"):
        assert titles(browser_of, text) == []
    assert titles(browser_of, "new project") == []


@pytest.mark.django_db
def test_odd_texts_are_searched_for(browser_of: Client, environment: Environment) -> None:
    for text in (*HOSTILE, "%", "_", "\\", "#", "#99999999999999999999", "a" * 5000, "' OR 1=1 --", "²"):
        assert browser_of.get(SEARCH, {"q": text}).status_code == 200, text


@pytest.mark.django_db
def test_the_number_of_queries_is_fixed(browser_of: Client, environment: Environment) -> None:
    scenes.judged(environment, error_rate=0.25)
    few = queries_of(browser_of, SEARCH, q="shop")
    for name in ("a", "b", "c"):
        made = make_environment(project=environment.project, name=name)
        scenes.judged(made, error_rate=0.25)
    assert queries_of(browser_of, SEARCH, q="shop") == few


@pytest.mark.django_db(transaction=True)
def test_the_keyboard_leads_everywhere(site: Page, live_server: Any, user: User) -> None:
    environment = scenes.environment_of(user)
    older, newer = (scenes.judged(environment, minutes_ago=ago) for ago in (30, 6))
    sign_in(site, live_server, "/dashboard/")
    site.keyboard.press("g")
    site.keyboard.press("d")
    expect(site).to_have_url(f"{live_server.url}/dashboard/deployments/")
    site.wait_for_load_state()
    site.keyboard.press("j")
    expect(site.get_by_role("link", name=f"#{newer.number} shop")).to_be_focused()
    site.keyboard.press("j")
    expect(site.get_by_role("link", name=f"#{older.number} shop")).to_be_focused()
    site.keyboard.press("k")
    site.keyboard.press("Enter")
    expect(site).to_have_url(f"{live_server.url}{address(newer)}")
    site.wait_for_load_state()
    site.keyboard.press("?")
    expect(site.get_by_role("heading", name="Keyboard")).to_be_visible()
    look(site, "keys", exclude=("main", "header"))
    site.keyboard.press("Escape")
    site.keyboard.press("/")
    expect(site.get_by_role("dialog").get_by_role("link", name="Teams")).to_be_visible()
    site.keyboard.type(f"#{older.number}")
    expect(site.get_by_role("dialog").get_by_role("link", name=f"#{older.number} shop prod")).to_be_visible()
    look(site, "search", exclude=("main", "header"))
    site.keyboard.press("ArrowDown")
    site.keyboard.press("Enter")
    expect(site).to_have_url(f"{live_server.url}{address(older)}")
    # What is typed into a field is no command.
    site.goto(f"{live_server.url}/dashboard/deployments/")
    site.wait_for_load_state()
    site.get_by_label("Search", exact=True).first.press_sequentially("j?/gd")
    expect(site).to_have_url(re.compile("deployments/"))
    expect(site.get_by_role("dialog")).to_have_count(0)
    site.keyboard.press("Control+k")
    expect(site.get_by_role("dialog")).to_be_visible()
