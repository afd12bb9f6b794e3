"""The history import in Chromium: from an empty page to the deployment that the policy would have rolled back."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page

from accounts.models import Role, User
from analysis.tests.factories import make_past
from dashboard.tests import scenes
from dashboard.tests.browsing import look, sign_in, submit
from metrics.configuring import add_source

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_list_is_imported_and_read(site: Page, live_server: Any, user: User) -> None:
    environment = scenes.environment_of(user, role=Role.ADMIN)
    sign_in(site, live_server, f"/dashboard/environments/{environment.pk}/")
    site.get_by_role("link", name="History import").click()
    look(site, "history-without-source", text="No source of this environment knows the past.")
    config = {"url": "https://prometheus.example", "expressions": {"error_rate": "errors"}}
    add_source(environment, "prometheus", config)
    site.reload()
    submit(site, "Import and judge", {"One per line": "v1 2026-01-01T00:00:00"}, text="has no offset from UTC")
    look(site, "history-wrong", text="Nothing was changed.")
    for days in range(12):
        make_past(environment, name=f"v1.{days}", days_ago=days + 1, latency=900.0 if days == 4 else 120.0)
    make_past(environment, name="v0.9", days_ago=40, latency=0)
    at = timezone.now() - timedelta(hours=2)
    submit(site, "Import and judge", {"One per line": f"v2.0 {at.isoformat()}"}, text="1 deployment is new.")
    look(site, "history", text="1 of 14 wait for their verdict.")
    submit(site, "Stop", text="the import was ended before")
    site.get_by_role("link", name="Rollback Recommended 1").click()
    site.get_by_role("link", name="v1.4").click()
    look(site, "past-deployment", heading="Before and after")
