"""Sources in Chromium: a Prometheus is added with what it knows, and every kind's page is looked at."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from accounts.models import Role, User
from dashboard.tests import scenes
from dashboard.tests.browsing import look, sign_in, submit
from metrics.configuring import reveal
from metrics.sources import SOURCE_KINDS
from metrics.tests.prometheus import prometheus_with

pytestmark = pytest.mark.django_db(transaction=True)


def known(rate: float) -> dict[str, dict[float, float]]:
    """Return an hour of a service: so many requests a second, of which each takes 80 to 120 ms."""
    now, name, labels = time.time(), "http_request_duration_seconds", 'job="shop",status="200"'
    times = {now - 3600 + 15 * number: 15 * rate * number for number in range(240)}
    shares = {"0.05": 0.0, "0.1": 0.5, "0.25": 1.0, "+Inf": 1.0}
    buckets = {
        f'{name}_bucket{{{labels},le="{le}"}}': {at: float(round(count * share)) for at, count in times.items()}
        for le, share in shares.items()
    }
    return {**buckets, f"{name}_count{{{labels}}}": times}


def test_a_prometheus_is_added_with_what_it_knows(
    site: Page, live_server: Any, settings: Any, user: User, tmp_path: Path
) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = "127.0.0.0/8"
    environment = scenes.environment_of(user, role=Role.ADMIN, metrics_endpoint="")
    sign_in(site, live_server, f"/dashboard/environments/{environment.pk}/settings/")
    site.get_by_role("link", name="Add a source").click()
    look(site, "source-choose", heading="What does SeqPulse measure it by?")
    for kind in SOURCE_KINDS:
        site.goto(f"{live_server.url}/dashboard/environments/{environment.pk}/sources/new/{kind.name}/")
        look(site, f"source-new-{kind.name}", heading="New source")
    with prometheus_with(tmp_path, known(40)) as url:
        site.goto(f"{live_server.url}/dashboard/environments/{environment.pk}/sources/new/prometheus/")
        site.get_by_label("Address").fill(url)
        submit(site, "Find services and expressions", text="What it knows")
        look(site, "source-found", text="What it knows")
        site.get_by_role("button", name="Use these expressions").click()
        expect(site.get_by_label("Further settings")).to_have_value(re.compile("histogram_quantile"))
        site.get_by_role("button", name="Test", exact=True).click()
        expect(site.get_by_text("A sample would be stored")).to_be_visible()
        expect(site.get_by_role("row", name="p95 latency")).to_contain_text("ms")
        expect(site.get_by_role("img", name="Traffic in the last hour")).to_be_visible()
        look(site, "source-tested", text="A sample would be stored")
        submit(site, "Add the source", text="The source is added")
    look(site, "source-added", text="Not asked yet.")
    [source] = environment.sources.all()
    assert "histogram_quantile" in reveal(source)["expressions"]["latency_p95"]
