"""From no project to the end of one, in Chromium, against a real metrics endpoint."""

from typing import Any

import pytest
from playwright.sync_api import Error, Page, expect

from accounts.models import Team
from dashboard.tests.browsing import look, sign_in, submit
from dashboard.tests.endpoints import Service
from projects.models import ApiKey, Environment, Project

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_life_of_a_project(site: Page, live_server: Any, service: Service) -> None:
    sign_in(site, live_server, "/dashboard/projects/")
    look(site, "projects-empty")
    make_a_project(site)
    connect_it(site)
    secret = try_its_endpoint(site, service)
    rotate_its_secret(site, service, secret)
    end_a_key(site)
    end_the_project(site)


def make_a_project(site: Page) -> None:
    site.get_by_role("link", name="Create a project").click()
    look(site, "project-new-first")
    site.get_by_label("Name of your team").fill("Platform")
    site.get_by_label("Name of the project").fill("checkout")
    submit(site, "Make the project", {"Metrics endpoint of the environment": "ftp://nowhere"})
    look(site, "project-new-refused", text="only http and https are allowed")
    site.get_by_label("Metrics endpoint of the environment").fill("")
    site.get_by_label("Sign the requests").uncheck()
    site.get_by_role("button", name="Make the project").click()
    key = site.locator("#api-key")
    expect(key).to_contain_text("sp_")
    shown = key.text_content()
    site.context.grant_permissions(["clipboard-read", "clipboard-write"])
    site.get_by_role("button", name="Copy API key").click()
    expect(site.get_by_role("button", name="Copied API key")).to_be_visible()
    expect(site.locator("[data-live-announcer]")).to_have_text("Copied")
    assert site.evaluate("navigator.clipboard.readText()") == shown
    look(site, "project-shown-once")
    # By the keyboard: the way on is the next but one stop.
    site.get_by_role("link", name="Go on").focus()
    site.keyboard.press("Enter")
    expect(site.get_by_role("heading", name="checkout")).to_be_visible()
    assert Team.objects.get().name == "Platform"
    integration = site.url
    # No memory of the browser holds the page with the key: it would have to send the form again.
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        site.go_back()
    site.wait_for_url("chrome-error://**")
    site.goto(integration)


def connect_it(site: Page) -> None:
    script = site.locator("#shell")
    expect(script).to_be_visible()
    expect(script).to_contain_text("SEQPULSE_ENV=prod")
    look(site, "integration")
    site.locator("summary", has_text="GitHub Actions").click()
    expect(site.locator("#github")).to_be_visible()
    expect(script).to_be_hidden()
    site.locator("summary", has_text="Django").click()
    site.get_by_role("button", name="Copy Django").click()
    expect(site.get_by_role("button", name="Copied Django")).to_be_visible()
    assert "class SeqPulseMiddleware" in site.evaluate("navigator.clipboard.readText()")
    look(site, "integration-opened")


def try_its_endpoint(site: Page, service: Service) -> str:
    site.get_by_role("link", name="Settings", exact=True).click()
    look(site, "project-settings")
    site.get_by_text("Add an environment").click()
    submit(site, "Add", {"Name of the environment": "staging"})
    look(site, "environment-settings-new", text="The environment is there.")
    site.get_by_label("URL").fill(service.url)
    service.metrics["cpu_usage"] = 42.0
    site.get_by_role("button", name="Test").click()
    look(site, "probe-wrong", text="This looks like a percentage")
    service.metrics["cpu_usage"] = 0.42
    submit(site, "Test", heading="A poller would store this sample")
    submit(site, "Activate this endpoint", text="The endpoint is active")
    site.get_by_role("button", name="Sign the requests").click()
    secret = site.locator("#hmac-secret").text_content()
    assert secret is not None
    service.accept(secret)
    site.get_by_role("link", name="I have stored it").click()
    submit(site, "Test", text="Signature accepted")
    look(site, "probe-signed", text="Unsigned requests are refused")
    return secret


def rotate_its_secret(site: Page, service: Service, secret: str) -> None:
    site.get_by_label("The old secret stays valid for").select_option("168")
    site.get_by_role("button", name="Rotate the secret").click()
    fresh = site.locator("#hmac-secret").text_content()
    assert fresh not in (None, secret)
    look(site, "secret-rotated")
    site.get_by_role("link", name="I have stored it").click()
    expect(site.get_by_text("A rotation is under way")).to_be_visible()
    site.get_by_role("button", name="Test").click()
    look(site, "probe-rotated", text="but only with the old secret")
    service.accept(str(fresh))
    site.get_by_role("button", name="Test").click()
    expect(site.get_by_text("Signature accepted", exact=True)).to_be_visible()
    site.get_by_text("Invalidate the old secret…").click()
    submit(site, "Invalidate the old secret now", text="The old secret is void.")
    assert Environment.objects.get(name="staging").hmac_secret.open() == fresh


def end_a_key(site: Page) -> None:
    site.get_by_role("link", name="API keys").click()
    site.get_by_label("Name", exact=True).fill("GitHub Actions")
    # As some people click.
    site.get_by_role("button", name="Make a key").dblclick()
    expect(site.get_by_role("heading", name="A new API key")).to_be_visible()
    assert ApiKey.objects.filter(name="GitHub Actions").count() == 1
    site.get_by_role("link", name="I have stored it").click()
    row = site.get_by_role("row").filter(has_text="GitHub Actions")
    row.locator("summary").click()
    look(site, "keys")
    submit(row, "Revoke now", text="Revoked")


def end_the_project(site: Page) -> None:
    site.get_by_role("link", name="Settings", exact=True).click()
    site.get_by_role("button", name="Archive the project").click()
    look(site, "project-archived", text="This project is archived")
    site.get_by_role("link", name="Projects").first.click()
    expect(site.get_by_role("link", name="checkout")).to_have_count(0)
    site.get_by_role("link", name="Archived (1)").click()
    look(site, "projects-archived")
    site.get_by_role("link", name="checkout").click()
    site.get_by_role("link", name="Settings", exact=True).click()
    site.get_by_role("link", name="Delete the project…").click()
    submit(site, "Delete the project", {"Type checkout to confirm": "check"})
    look(site, "project-delete", text="This is not its name.")
    submit(site, "Delete the project", {"Type checkout to confirm": "checkout"})
    expect(site.get_by_text("The project “checkout” is deleted.")).to_be_visible()
    assert not Project.objects.not_deleted().exists()
