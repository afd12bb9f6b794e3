"""The way into a team and out of it, in Chromium: two people, each in a browser of their own."""

import re
from collections.abc import Iterator

import pytest
from django.core import mail
from playwright.sync_api import Browser, Page, expect

from accounts.models import Role, Team, User
from dashboard.status.queries import details
from dashboard.tests.browsing import look, sign_in, submit
from scheduler.health import health
from tests.factories import make_environment, make_job, make_poller, make_project, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user(transactional_db) -> User:
    return make_user(username="ada", email="ada@example.com", first_name="Ada", last_name="Lovelace")


@pytest.fixture
def other(browser: Browser, browser_context_args) -> Iterator[Page]:
    """The browser of another user."""
    context = browser.new_context(**browser_context_args)
    yield context.new_page()
    context.close()


def link_in_the_mail() -> str:
    return str(re.findall(r"http://\S+/dashboard/invitations/\S+", mail.outbox[-1].body)[0])


def test_a_team_from_its_first_member_to_its_last_invitation(site, other, live_server, user):
    grace = make_user(username="grace", email="grace@example.com")
    sign_in(site, live_server, "/dashboard/teams/")
    look(site, "teams-none", heading="You are in no team yet")
    submit(site, "Create the team", {"Name of the team": "Payments"})
    expect(site.get_by_role("heading", name="Payments", exact=True)).to_be_visible()
    look(site, "team-new")

    site.get_by_label("E-mail address").fill("grace@example.com")
    site.get_by_label("Role", exact=True).select_option("admin")
    submit(site, "Invite", text="The invitation is on its way to grace@example.com.")

    other.goto(link_in_the_mail())
    look(other, "invitation-anonymous", heading="Join Payments")
    expect(other.get_by_role("link", name="Create account")).to_be_visible()
    sign_in(other, live_server, link_in_the_mail().removeprefix(live_server.url), username="grace")
    expect(other.get_by_text("grace@example.com")).to_be_visible()
    other.get_by_role("button", name="Join the team").click()
    look(other, "team-as-admin", text="Welcome to the team. Your role is Admin.")

    make_environment(project=make_project(team=Team.objects.get(), name="shop"))
    submit(site, "Invite", {"E-mail address": "somebody-with-a-rather-long-address@department.example.com"})
    site.get_by_label("Role of grace").select_option("owner")
    submit(site, "Change grace", text="grace has the role Owner now.")
    site.get_by_text("What each role may do").click()
    site.get_by_text("Remove grace", exact=False).first.click()
    look(site, "team")
    submit(site, "Remove grace", text="grace is no longer in the team.")
    site.get_by_role("button", name="Withdraw").click()
    expect(site.get_by_text("The invitation is withdrawn.")).to_be_visible()
    assert not grace.memberships.exists()

    other.reload()
    look(other, "error-404", heading="Not found")
    other.goto(link_in_the_mail())
    look(other, "invitation-withdrawn", heading="This invitation was withdrawn")

    submit(site, "Delete the team", {"Type the team's name": "Payments"}, text="The team “Payments” is deleted.")


def test_another_account_is_warned_and_a_mail_that_fails_leaves_its_link(site, other, live_server, user, settings):
    team = Team.objects.create(name="Payments and a name that is longer than most names of teams are")
    team.memberships.create(user=user, role=Role.OWNER)
    make_user(username="linus", email="linus@example.org")
    settings.EMAIL_BACKEND = "dashboard.tests.account_forms.Refusing"
    sign_in(site, live_server, f"/dashboard/teams/{team.pk}/")
    submit(site, "Invite", {"E-mail address": "grace@example.com"})
    link = site.get_by_label("Link of the invitation")
    expect(link).to_be_visible()
    look(site, "team-mail-failed")
    sign_in(other, live_server, link.input_value().removeprefix(live_server.url), username="linus")
    look(other, "invitation-other-account", text="The invitation was sent to")


def test_the_status_shows_what_changes_without_a_reload(site, live_server, user):
    User.objects.filter(pk=user.pk).update(is_staff=True)
    for cached in (health, details):
        cached.forget()
    # Heard of for as long as the screenshots take.
    make_poller("poller-1", age_s=-600)
    sign_in(site, live_server, "/dashboard/status/")
    look(site, "status", heading="All is well")
    make_poller("poller-gone", age_s=90)
    make_job(600)
    expect(site.get_by_role("heading", name="Something is wrong")).to_be_visible(timeout=30_000)
    look(site, "status-late")
