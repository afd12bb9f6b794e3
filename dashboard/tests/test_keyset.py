"""Invalid and forged cursors."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from dashboard.keyset import place_of
from dashboard.tests.pages import LIST, has
from deployments.tests.factories import make_deployment
from projects.models import Environment


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def test_a_time_is_compared_in_utc_whatever_zone_it_was_written_in() -> None:
    found = place_of(cursor("-started", 0, "2026-03-01T12:00:00+05:45", 7, False), "-started", datetime)
    assert found is not None
    assert isinstance(found.key, datetime)
    assert (found.key, found.key.tzinfo) == (datetime(2026, 3, 1, 6, 15, tzinfo=UTC), UTC)


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00"])
@pytest.mark.parametrize("sort", ["-started", "project"])
def test_a_time_at_the_end_of_all_times_leads_to_the_first_page(
    browser_of: Client, environment: Environment, key: str, sort: str
) -> None:
    one = make_deployment(environment=environment)
    part = environment.project_id if sort == "project" else 0
    has(browser_of.get(LIST, {"sort": sort, "cursor": cursor(sort, part, key, 5, False)}), str(one.uuid))
