"""Endpoints that no request may go to are named when they are set."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.tests.factories import make_user
from dashboard.tests.pages import shows
from deployments.tests.pipeline import Pipeline
from projects.guarding import refused_endpoint
from projects.models import Environment

WORDS = "An operator can let it through with SEQPULSE_OUTBOUND_ALLOW."


@pytest.mark.parametrize(
    ("url", "allow", "is_refused"),
    [
        ("http://10.0.0.5/metrics", "", True),
        ("http://10.0.0.5/metrics", "10.0.0.0/8", False),
        ("http://localhost:9000/m", "", True),
        ("http://localhost:9000/m", "localhost", False),
        ("http://127.1/m", "", True),
        ("http://[::1]:8080/m", "", True),
        ("http://[fd00::1]/m", "", True),
        ("http://169.254.169.254/m", "", True),
        ("http://8.8.8.8/m", "", False),
        ("http://metrics.example/m", "", False),
    ],
)
def test_an_address_that_is_not_public_is_refused_unless_it_is_allowed(
    settings: Any, url: str, allow: str, is_refused: bool
) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = allow
    assert (refused_endpoint(url) is not None) == is_refused


@pytest.mark.django_db
def test_the_command_the_form_and_the_trigger_say_so(settings: Any, client: Client, pipeline: Pipeline) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = ""
    out, err = StringIO(), StringIO()
    call_command("create_project", "inside", endpoint="http://10.0.0.5/m", json=True, stdout=out, stderr=err)
    assert "10.0.0.5 is a private address" in err.getvalue()
    assert WORDS in err.getvalue()
    assert out.getvalue().startswith("{")

    client.force_login(make_user(is_superuser=True))
    form = {"team_name": "t", "name": "new", "environment": "prod", "endpoint": "http://10.0.0.6/m"}
    page = client.post("/dashboard/projects/new/", form, follow=True)
    shows(page, "10.0.0.6 is a private address", WORDS)

    Environment.objects.update(metrics_endpoint="")
    answer = pipeline.trigger(metrics_endpoint="http://10.0.0.7/m")
    assert WORDS in answer.json()["message"]
