"""Saying what one does about a deployment: on its page, in the list, in the timeline; and links to it from messages."""

import pytest
from playwright.sync_api import expect

from accounts.models import Role
from analysis.acknowledging import acknowledge
from analysis.models import Acknowledgement, Feedback
from dashboard.tests import scenes
from dashboard.tests.browsing import look, sign_in
from dashboard.tests.pages import HOSTILE, LIST, address, elements, shows, words
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


def test_it_is_shown_to_everybody(browser_of, environment):
    deployment = scenes.judged(environment, **scenes.BROKEN)
    client, path = browser_of, address(deployment)
    form = {"ack-what": "on_it", "ack-reason": "<b>looking</b>"}
    shows(
        client.post(f"{path}acknowledge/", form, follow=True), "ada is on it", "<b>looking</b>", "Everybody can see it"
    )
    client.post(f"{path}acknowledge/", form)
    assert Acknowledgement.objects.count() == 1
    page = client.get(path)
    assert sum("ada is on it" in words(entry) for entry in elements(page, ".timeline-entry")) == 1
    shows(client.get(LIST), "ada is on it")


@pytest.mark.environment(role=Role.VIEWER)
def test_viewers_see_it_and_may_not_say_anything(browser_of, environment):
    deployment = scenes.judged(environment, **scenes.BROKEN)
    acknowledge(deployment, "on_it", who="bo", via="chat")
    page = browser_of.get(address(deployment))
    shows(page, "bo is on it")
    assert not elements(page, "#acknowledge-form")
    assert browser_of.post(f"{address(deployment)}acknowledge/", {"ack-what": "on_it"}).status_code == 403


def test_a_good_deployment_asks_nobody(browser_of, environment):
    deployment = scenes.judged(environment)
    assert not elements(browser_of.get(address(deployment)), "#acknowledgements")


def test_ignoring_needs_a_reason_and_offers_to_mark_the_verdict_wrong(browser_of, environment):
    deployment = scenes.judged(environment, **scenes.BROKEN)
    path = address(deployment)
    refused = browser_of.post(f"{path}acknowledge/", {"ack-what": "ignored", "ack-reason": " "})
    shows(refused, "Say why the verdict is ignored")
    assert elements(refused, "#id_ack-reason[aria-invalid=true]") and not Acknowledgement.objects.exists()
    page = browser_of.post(f"{path}acknowledge/", {"ack-what": "ignored", "ack-reason": "load test"}, follow=True)
    shows(page, "ada ignores it", "If the verdict was wrong, mark it")
    assert elements(page, "#feedback input[value=wrong][checked]")
    assert not Feedback.objects.exists()


def test_to_have_rolled_back_marks_the_recommendation_right(browser_of, environment):
    deployment = scenes.judged(environment, **scenes.BROKEN)
    page = browser_of.post(f"{address(deployment)}acknowledge/", {"ack-what": "rolled_back"}, follow=True)
    shows(page, "ada rolled back", "the verdict is marked right", "Marked right")


def test_hostile_fields_are_refused_or_kept_as_text(browser_of, environment):
    path = f"{address(scenes.judged(environment, **scenes.BROKEN))}acknowledge/"
    for text in HOSTILE:
        for form in (
            {"ack-what": text},
            {"ack-what": "ignored", "ack-reason": text},
            {"ack-reason": text},
        ):
            assert browser_of.post(path, form).status_code in (200, 302)
    assert browser_of.get(address(scenes.judged(environment))).status_code == 200


def test_a_link_of_a_message_leads_through_the_sign_in_and_tells_strangers_the_state_alone(client, environment):
    deployment = scenes.judged(environment, **scenes.BROKEN)
    user = environment.project.team.memberships.get().user
    unknown = address(deployment).replace(str(deployment.uuid), "0" * 8 + "-0000-4000-8000-" + "0" * 12)
    bot = {"User-Agent": "Slackbot-LinkExpanding 1.0"}
    previews = [client.get(path, follow=True, headers=bot) for path in (address(deployment), unknown)]
    metas = [elements(page, "meta[property]") for page in previews]
    said = [{one.get("property"): one.get("content") for one in those} for those in metas]
    assert [one.pop("og:title") for one in said] == ["SeqPulse: Rollback recommended", "SeqPulse"]
    assert said[0] == said[1] and said[0]["og:description"] == "Sign in to see this page."
    # The address that was asked for is in the form, and nothing else about it.
    assert environment.project.name not in previews[0].content.decode().replace(address(deployment), "")
    field = elements(previews[0], "input[name=next]")[0]
    assert field.get("value") == address(deployment)
    form = {"login": user.username, "password": PASSWORD, "next": field.get("value")}
    assert client.post("/accounts/login/", form).headers["Location"] == address(deployment)


@pytest.mark.django_db(transaction=True)
def test_a_person_says_it_in_a_browser(site, live_server, user):
    deployment = scenes.judged(scenes.environment_of(user), **scenes.BROKEN)
    acknowledge(deployment, "on_it", who="bo with a rather long name " * 5, via="chat", reason="w" * 300)
    sign_in(site, live_server, address(deployment))
    site.get_by_text("Ignore…").click()
    site.get_by_role("button", name="Ignore the verdict").click()
    expect(site.get_by_text("Say why the verdict is ignored")).to_be_visible()
    look(site, "acknowledge-refused")
    site.get_by_role("button", name="Ignore the verdict").scroll_into_view_if_needed()
    site.get_by_label("Note").fill("It was a load test.")
    site.get_by_role("button", name="Ignore the verdict").click()
    expect(site.get_by_text("ada ignores it").first).to_be_visible()
    look(site, "acknowledged")
