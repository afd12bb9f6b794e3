"""Exchanges that fail, in headless Chromium."""

from __future__ import annotations

import re

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from analysis.tests.factories import make_verdict
from dashboard.tests import scenes
from dashboard.tests.browsing import sign_in
from dashboard.tests.pages import LIST
from deployments.models import State
from deployments.tests.factories import make_deployment

pytestmark = pytest.mark.django_db(transaction=True)


def test_who_filters_after_the_session_has_ended_signs_in_and_comes_back_to_what_was_asked(site, live_server, user):
    make_verdict(make_deployment(environment=scenes.environment_of(user), state=State.ANALYZED))
    sign_in(site, live_server)
    expect(site.get_by_role("row")).to_have_count(2)
    Session.objects.all().delete()
    site.get_by_label("Verdict", exact=True).select_option(label="Warning")
    expect(site.locator("input[name=password]")).to_be_visible()
    expect(site).to_have_url(re.compile(r"/accounts/login/\?next=.*verdict%3Dwarning"))
    sign_in(site, live_server, f"{LIST}?verdict=warning")
    expect(site.get_by_role("heading", name="No deployment matches")).to_be_visible()
