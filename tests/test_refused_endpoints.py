"""Endpoints that no request may go to are named when they are set."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.tests.factories import make_user
from dashboard.tests.pages import shows
from deployments.tests.pipeline import Pipeline
from metrics.configuring import add_source
from metrics.source_lists import replace_sources
from metrics.sources.base import InvalidConfig
from outbound.addresses import AllowList, network_to_allow, refusal
from projects.guarding import refused_endpoint
from projects.models import Environment, Project
from projects.tests.factories import make_environment

WORDS = "Ask the operator of SeqPulse to start it with SEQPULSE_OUTBOUND_ALLOW=10.0.0.0/16"


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


@pytest.mark.parametrize(
    ("address", "setting"),
    [
        ("10.1.2.3", "10.1.0.0/16"),
        ("172.20.5.6", "172.20.0.0/16"),
        ("192.168.7.8", "192.168.7.0/24"),
        ("100.64.1.2", "100.64.0.0/16"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("::1", "::1/128"),
        ("fd00:1:2:3::4", "fd00:1:2:3::/64"),
        ("192.0.2.9", "192.0.2.9/32"),
        *(("169.254.169.254", ""), ("fe80::1", ""), ("nonsense", "")),
    ],
)
def test_the_setting_to_add_opens_the_subnet_and_nothing_that_hands_out_credentials(address: str, setting: str) -> None:
    assert network_to_allow(address) == setting
    if setting:
        both = network_to_allow(address, " .internal.example, ")
        assert both == f".internal.example,{setting}"
        assert refusal(address, AllowList.parse(both)) is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "config", "field"),
    [
        ("prometheus", {"url": "http://10.0.0.5:9090", "expressions": {"error_rate": "1"}}, "url"),
        ("openmetrics", {"url": "http://127.0.0.1/metrics"}, "url"),
        ("endpoint", {"targets": ["https://a.example/m", "http://192.168.1.2/m"]}, "targets.1"),
        ("check", {"base_url": "http://[::1]:8080", "steps": [{"url": "/"}]}, "base_url"),
        ("check", {"steps": [{"url": "https://a.example/"}, {"url": "http://10.9.8.7/"}]}, "steps.1.url"),
    ],
)
def test_sources_at_addresses_that_are_not_called_are_refused_when_they_are_entered(
    settings: Any, kind: str, config: Any, field: str
) -> None:
    settings.SEQPULSE_OUTBOUND_ALLOW = ""
    environment = make_environment()
    with pytest.raises(InvalidConfig) as refused:
        add_source(environment, kind, config)
    [(path, fact)] = refused.value.errors.items()
    assert (path, fact.code) == (field, "blocked_at_entry")
    with pytest.raises(InvalidConfig) as refused:
        replace_sources(environment, [{"kind": kind, **config}])
    assert list(refused.value.errors) == [f"sources.0.{field}"]
    # A pipeline's call goes on.
    replace_sources(environment, [{"kind": kind, **config}], secrets=False)
    replace_sources(environment, [])
    settings.SEQPULSE_OUTBOUND_ALLOW = str(fact.params["allow"])
    add_source(environment, kind, config)


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
    page = client.post("/dashboard/projects/new/", form)
    shows(page, "10.0.0.6 is a private address", WORDS)
    assert not Project.objects.filter(name="new").exists()

    Environment.objects.update(metrics_endpoint="")
    answer = pipeline.trigger(metrics_endpoint="http://10.0.0.7/m")
    assert WORDS in answer.json()["message"]
