"""The page of a deployment says what measured it, and what of that failed meanwhile."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from dashboard.tests import scenes
from dashboard.tests.pages import address, shows
from explain.facts import Fact
from metrics.configuring import add_source
from metrics.models import Source

pytestmark = pytest.mark.django_db


def test_a_page_names_its_sources_and_their_trouble_of_its_own_time(browser_of: Any, environment: Any) -> None:
    add_source(environment, "prometheus", {"url": "https://p.example", "expressions": {"error_rate": "errors"}})
    add_source(environment, "push", {})
    trouble = {
        "failed_at": timezone.now(),
        "failure": Fact("source_failed", {"problem": Fact("nothing_measured")}).to_json(),
    }
    Source.objects.filter(kind="push").update(**trouble)
    environment.refresh_from_db()
    now = scenes.judged(environment)
    told = "Pushed samples · the source answered, and not one of the metrics was in it"
    shows(browser_of.get(address(now)), "Measured by", "Prometheus p.example · gives: Error rate", told)
    Source.objects.update(failed_at=timezone.now() + timedelta(days=2))
    shows(browser_of.get(address(now)), "Pushed samples", without=[told])
