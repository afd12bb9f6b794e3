"""Pages of links and mails in headless Chromium: what an admin makes, and what strangers see."""

from typing import Any

import pytest
from playwright.sync_api import Page

from dashboard.tests.browsing import look, sign_in
from notifications.recipients import token_of
from projects.models import Environment
from projects.public_links import make_link
from tests.factories import make_deployment, make_verdict

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.environment(role="admin", name="prod")
def test_links_are_made_and_what_they_show_can_be_read(site: Page, live_server: Any, environment: Environment) -> None:
    project = environment.project
    make_verdict(make_deployment(environment=environment, state="analyzed"))
    sign_in(site, live_server, f"/dashboard/projects/{project.uuid}/links/")
    site.get_by_role("button", name="Make a link").click()
    look(site, "links_made", heading="The new link")
    shown = {"kind": "page", "title": "Our shop", "environments": [environment.pk]}
    token = make_link(project, shown, by=None)
    sign_in(site, live_server, f"/dashboard/teams/{project.team_id}/channels/new/email/")
    look(site, "email_channel", text="Weekly report")
    site.context.clear_cookies()
    site.goto(f"{live_server.url}/public/{token}/")
    look(site, "public_page", text="Our shop")
    site.goto(f"{live_server.url}/mail/{token_of(project.team_id, '0' * 64)}/")
    look(site, "mail_consent", text="Stop these mails")
