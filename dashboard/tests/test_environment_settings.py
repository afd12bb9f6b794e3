"""An environment's settings: a live probe of its endpoint, its secret, its name, its end."""

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from accounts.models import Role
from dashboard.projects.probing import report_on
from dashboard.tests.endpoints import Service
from dashboard.tests.pages import as_role, form_with, fresh, has, queries_of, shows, words
from metrics.probing import Probe, read_answer
from metrics.sources.http_endpoint import Endpoint
from outbound.fetcher import Response
from projects.models import Environment, Project
from projects.services import set_policy
from projects.signing import enable_signing, fingerprint
from projects.tests.factories import make_environment
from projects.units import Units

pytestmark = [pytest.mark.django_db, pytest.mark.environment(role=Role.OWNER)]
SECRET = re.compile(r"sphs_[A-Za-z0-9_-]{43}")


def of(environment: Environment, rest: str = "") -> str:
    return f"/dashboard/environments/{environment.pk}/settings/{rest}"


@pytest.fixture
def probe(browser_of: Client, environment: Environment, service: Service) -> Callable[..., Any]:
    """Ask for a probe of the service, or of another URL."""
    return lambda url=None: browser_of.post(of(environment, "probe/"), {"url": service.url if url is None else url})


def signing(client: Client, environment: Environment, do: str, **fields: Any) -> Any:
    environment.refresh_from_db()
    return client.post(of(environment, "signing/"), {"do": do, "seen": fingerprint(environment), **fields})


def secret_of(answer: Any) -> str:
    assert "no-store" in answer["Cache-Control"]
    [secret] = set(SECRET.findall(answer.content.decode()))
    return str(secret)


# --- the probe


def test_a_probe_shows_each_value_with_its_unit_and_saves_nothing(probe, environment):
    page = probe()
    shows(page, "A poller would store this sample", "HTTP 200", "Not signed", "Activate this endpoint")
    shows(page, "Traffic requests_per_sec Value 50.0 req/s", "p95 latency latency_p95 Value 120 ms")
    shows(page, "CPU usage cpu_usage Value 30.0 %", "Memory usage memory_usage Value 40.0 %")
    assert fresh(environment).metrics_endpoint == ""


@pytest.mark.parametrize(
    ("metric", "value", "remark"),
    [
        ("cpu_usage", 42.0, "cpu_usage is 42, allowed 0..1 . This looks like a percentage"),
        ("error_rate", 420, "error_rate is 420, allowed 0..1"),
        ("memory_usage", None, "memory_usage is null, it has to be a number"),
        ("latency_p95", "120", 'latency_p95 is "120", it has to be a number'),
        ("latency_p95", 0.118, "This looks like seconds. Send milliseconds."),
        ("error_rate", 0.26, "So many requests fail now, before any deployment."),
        ("memory_usage", 0, "Exactly 0 for a service that runs"),
        ("requests_per_sec", -1, "requests_per_sec is -1, allowed at least 0"),
    ],
)
def test_a_doubtful_value_is_reported_beside_the_others(probe, service, metric, value, remark):
    service.metrics[metric] = value
    text = words(probe())
    assert remark in text
    assert text.count("fine") == 4


def test_units_that_a_test_suggests_are_set_by_one_click_and_convert(probe, service, browser_of, environment):
    service.metrics |= {"latency_p95": 0.12, "cpu_usage": 30.0, "memory_usage": 140.0}
    page = probe()
    shows(page, "p95 latency → seconds CPU usage → per cent, 0 to 100", "Set these units")
    fields = form_with('#probe form[action*="units"]', page)
    assert fields == {"latency_p95": "s", "cpu_usage": "percent"}
    browser_of.post(of(environment, "units/"), fields)
    assert fresh(environment).units == Units(latency_p95="s", cpu_usage="percent")
    service.metrics["memory_usage"] = 0.4
    page = probe()
    shows(page, "A poller would store this sample", "p95 latency latency_p95 Value 120 ms", "cpu_usage Value 30.0 %")
    assert "Set this unit" not in words(page)


def test_units_are_set_by_their_form_and_others_changes_are_kept(browser_of, environment):
    page = browser_of.get(of(environment))
    shows(page, "Units of its answers", "p95 latency", "per cent, 0 to 100")
    shown = {f"initial-{metric}": unit for metric, unit in asdict(Units()).items()}
    Environment.objects.filter(pk=environment.pk).update(memory_usage_unit="percent")
    answer = browser_of.post(
        of(environment, "units/"), {**shown, **asdict(Units()), "error_rate": "percent"}, follow=True
    )
    shows(answer, "The units are set")
    assert fresh(environment).units == Units(error_rate="percent", memory_usage="percent")
    assert browser_of.post(of(environment, "units/"), {"cpu_usage": "kelvin"}).status_code == 200
    assert fresh(environment).units.cpu_usage == "ratio"


def test_prometheus_text_and_a_login_page_are_named(probe, service):
    for raw, named in ((b"# TYPE up gauge\nup 1\n", "this is Prometheus text"), (b"<html><h1>Log in", "a login page")):
        service.raw = raw
        shows(probe(), "A poller would get no sample", named)


def test_a_missing_value_is_named(probe, service):
    del service.metrics["error_rate"]
    shows(probe(), "A poller would get no sample", "error_rate is missing", "Activate it all the same")


def test_custom_metrics_are_shown_and_those_that_no_policy_names(probe, service, environment):
    set_policy(environment, {"custom_metrics": [{"name": "backlog"}]}, source="file")
    service.raw = b'{"metrics": {"cpu_usage": 0.3}, "custom": {"backlog": 12, "hits": 0.5}, "instances": 3}'
    page = probe()
    shows(page, "A poller would store this sample", "backlog backlog Value 12", "hits hits Value 0.5")
    shows(
        page,
        "Not judged, because the policy of the environment does not name them: hits",
        without=["name them: backlog"],
    )
    service.raw = b'{"metrics": {}, "custom": {"backlog": "12"}}'
    shows(probe(), "A poller would get no sample", 'custom: backlog is "12", it has to be a finite number')


@pytest.mark.parametrize(
    ("status", "raw", "said", "fix"),
    [
        (200, b"<html>hello", "not valid JSON", "Is it the right path?"),
        (200, b'{"ok": true}', 'no object "metrics"', "Compare the answer with the format"),
        (401, b"", "it asks for credentials", "Turn signing on below"),
        (404, b"", "HTTP 404", "Check the path"),
        (503, b"", "HTTP 503", "The service failed"),
        (302, b"", "redirects are not followed", "Enter the address that it leads to"),
        (200, b"[" + b"1," * 100_000 + b"1]", "more than 64 KiB", "more than the five metrics"),
    ],
)
def test_an_unusable_answer_is_reported_with_its_fix(probe, service, status, raw, said, fix):
    service.status, service.raw = status, raw
    service.headers = {"Location": "http://elsewhere.example/"} if status == 302 else {}
    shows(probe(), "A poller would get no sample", said, fix)
    assert service.asked == 1


@pytest.mark.parametrize(
    ("url", "said", "fix"),
    [
        ("http://10.0.0.1/m", "10.0.0.1 is a private address", "SEQPULSE_OUTBOUND_ALLOW=127.0.0.0/8,10.0.0.0/16"),
        ("http://169.254.169.254/latest/meta-data", "may not be called", "An operator can let it through"),
        ("http://nowhere.invalid/m", "could not be resolved", "Check the spelling of the host"),
        ("http://127.0.0.1:9/m", "could not connect to 127.0.0.1:9", "Check the port"),
    ],
)
def test_an_address_that_cannot_be_asked_is_reported_with_its_fix(probe, url, said, fix):
    shows(probe(url), said, fix)


def test_invalid_tls_is_reported(probe, service):
    shows(probe(service.url.replace("http:", "https:")), "Check that the certificate is valid")


def test_an_undecryptable_secret_is_reported_with_its_fix(probe, environment, service, settings):
    enable_signing(environment)
    settings.SEQPULSE_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    shows(probe(), "no configured key opens the secret of this environment", "Turn signing off and on again")
    assert service.asked == 0


HOSTILE = b"<script>alert(1)</script>\x00\x1b[31m\xff" + b"<b>" * 5000


def test_an_answer_from_the_own_network_is_not_shown(probe, service):
    service.raw = HOSTILE
    has(probe().content.decode(), "not shown, because its address is not public", without=["alert(1)"])


def test_a_hostile_answer_is_shown_as_text_and_not_for_long(environment):
    answer = Response(status=200, body=HOSTILE, content_type="", elapsed_ms=1.0, remote_ip="198.41.0.4")
    found = read_answer(Probe("https://shop.example/m", signed=False), answer, Endpoint("https://shop.example/m", "1"))
    body = render_to_string("dashboard/projects/_probe.html", {"report": report_on(found), "environment": environment})
    assert "<script>alert(1)" not in body
    assert "&lt;script&gt;alert(1)" in body
    assert "\x1b" not in body
    assert 10 < body.count("&lt;b&gt;") < 100


def test_a_hostile_name_of_a_value_is_no_markup(probe, service):
    service.metrics["latency_p95"] = "<script>alert(1)</script>"
    has(probe(), without=["<script>alert(1)"])


NO_URLS = ["", "\0", "ftp://x/", "http://", "http://user:pw@host/", "x" * 5000, "javascript:alert(1)"]


@pytest.mark.parametrize("url", NO_URLS)
def test_an_invalid_url_is_reported_and_nothing_is_asked(probe, service, url):
    has(probe(url), "field-error")
    assert service.asked == 0


def test_a_signed_probe_tells_whether_the_signature_is_checked(probe, browser_of, environment, service):
    service.accept(secret_of(signing(browser_of, environment, "begin")))
    shows(probe(), "Signature accepted", "Unsigned requests are refused")
    assert service.asked == 2
    service.accept()
    assert "It answers unsigned requests, too" in words(probe())
    service.accept("another")
    shows(probe(), "it refuses our signature", "Give the service the secret of this environment")


def test_during_a_rotation_the_probe_tells_which_secret_the_endpoint_knows(probe, browser_of, environment, service):
    old = secret_of(signing(browser_of, environment, "begin"))
    new = secret_of(signing(browser_of, environment, "rotate", grace_hours="1"))
    service.accept(old)
    shows(probe(), "only with the old secret", "look at the remarks")
    service.accept(new)
    assert "Signature accepted Unsigned requests are refused" in words(probe())


def test_a_blocked_endpoint_is_not_probed_and_the_page_tells_why(probe, service):
    Environment.objects.update(endpoint_blocked_at=timezone.now(), endpoint_blocked_reason="it was <hammered>")
    shows(probe(), "the operators of SeqPulse have blocked requests", "it was <hammered>")
    assert service.asked == 0


def test_probes_are_limited_by_person(probe, browser_of, environment, service, settings):
    settings.SEQPULSE_RATE_LIMITS = True
    answers = [probe().status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]
    assert service.asked == 10
    assert browser_of.get(of(environment)).status_code == 200
    other = as_role(environment, Role.ADMIN)
    assert other.post(of(environment, "probe/"), {"url": service.url}).status_code == 200


# --- activating


def endpoint(client: Client, environment: Environment, do: str, **fields: str) -> Any:
    return client.post(of(environment, "endpoint/"), {"do": do, **fields}, follow=True)


def test_an_endpoint_is_activated_and_deactivated(browser_of, environment):
    url = "https://shop.example.com/ds-metrics"
    assert "The endpoint is active" in words(endpoint(browser_of, environment, "activate", url=url, seen=""))
    assert fresh(environment).metrics_endpoint == url
    assert "no metrics endpoint any more" in words(endpoint(browser_of, environment, "deactivate", seen=url))
    assert fresh(environment).metrics_endpoint == ""


@pytest.mark.parametrize("do", ["activate", "deactivate"])
def test_an_endpoint_that_was_changed_meanwhile_is_not_overwritten(browser_of, environment, do):
    Environment.objects.update(metrics_endpoint="https://new.example.com/m")
    text = words(
        endpoint(browser_of, environment, do, url="https://mine.example.com/m", seen="https://old.example.com/m")
    )
    assert "The endpoint was changed meanwhile" in text
    assert fresh(environment).metrics_endpoint == "https://new.example.com/m"


def test_only_what_can_be_an_endpoint_is_activated(browser_of, environment):
    assert "only http and https" in words(endpoint(browser_of, environment, "activate", url="ftp://x", seen=""))
    assert browser_of.post(of(environment, "endpoint/"), {"do": "explode"}).status_code == 400


# --- the secret


def test_the_life_of_a_secret(browser_of, environment):
    old = secret_of(signing(browser_of, environment, "begin"))
    new = secret_of(signing(browser_of, environment, "rotate", grace_hours="168"))
    page = browser_of.get(of(environment))
    shows(page, "A rotation is under way", "the old secret was not needed by any sample")
    Environment.objects.update(previous_hmac_used_at=timezone.now())
    assert "The endpoint still knew only the old secret just now" in words(browser_of.get(of(environment)))
    again = secret_of(signing(browser_of, environment, "reissue"))
    assert (fresh(environment).hmac_secret.open(), environment.previous_hmac_secret.open()) == (again, old)
    assert "The old secret is void" in words(follow(browser_of, signing(browser_of, environment, "finish")))
    shows(signing(browser_of, environment, "end", **{"end-typed": "Prod"}), "This is not its name")
    ended = signing(browser_of, environment, "end", **{"end-typed": "prod"})
    assert "Requests are not signed any more" in words(follow(browser_of, ended))
    assert not fresh(environment).signs
    has(page, without=[old, new, again])


def follow(client: Client, answer: Any) -> Any:
    assert answer.status_code == 302
    return client.get(answer.url.partition("#")[0])


def test_a_second_click_on_rotate_changes_nothing(browser_of, environment):
    signing(browser_of, environment, "begin")
    environment.refresh_from_db()
    data = {"do": "rotate", "seen": fingerprint(environment), "grace_hours": "24"}
    secret = secret_of(browser_of.post(of(environment, "signing/"), data))
    answer = browser_of.post(of(environment, "signing/"), data)
    assert "The secret was changed meanwhile" in words(follow(browser_of, answer))
    assert fresh(environment).hmac_secret.open() == secret


@pytest.mark.parametrize(
    "data",
    [
        {"do": "rotate", "grace_hours": "2"},
        {"do": "rotate", "grace_hours": "9" * 500},
        {"do": "rotate"},
        {"do": "rotate", "seen": "\0", "grace_hours": "1"},
        {"do": "finish", "seen": "x" * 5000},
        {"do": "begin"},
        {"do": "end", "end-typed": "\0"},
    ],
)
def test_what_is_wrong_about_a_change_of_the_secret_changes_nothing(browser_of, environment, data):
    secret = secret_of(signing(browser_of, environment, "begin"))
    assert browser_of.post(of(environment, "signing/"), data).status_code in (200, 302)
    assert (fresh(environment).hmac_secret.open(), environment.previous_hmac_secret.open()) == (secret, "")
    assert browser_of.post(of(environment, "signing/"), {"do": "\0"}).status_code == 400


# --- name, end, rights


def test_an_environment_gets_another_name_if_that_is_free(browser_of, environment):
    make_environment(project=environment.project, name="staging")
    shows(browser_of.post(of(environment), {"name": "staging"}), "The project has an environment of this name already.")
    assert browser_of.post(of(environment), {"name": "production"}).status_code == 302
    assert fresh(environment).name == "production"


def test_an_environment_goes_only_by_its_typed_name(browser_of, environment):
    assert "This is not its name" in words(browser_of.post(of(environment, "delete/"), {"typed": "x"}))
    answer = browser_of.post(of(environment, "delete/"), {"typed": "prod"}, follow=True)
    assert "The environment “prod” is deleted" in words(answer)
    assert browser_of.get(of(environment)).status_code == 404
    assert Project.objects.not_deleted().exists()


def test_the_page_takes_the_same_few_queries(browser_of, environment):
    # Session, user, environment with project and team, role, sources.
    assert queries_of(browser_of, of(environment)) == 5


def test_the_page_names_what_is_in_effect(browser_of, environment):
    Environment.objects.update(metrics_endpoint="https://shop.example.com/m")
    shows(browser_of.get(of(environment)), "Plan Free Observation 5 minutes ·", "Baseline one sample every 5 min")


# --- its settling time


def test_the_settling_time_is_shown_and_set(browser_of, environment):
    shows(browser_of.get(of(environment)), "Settling time none")
    browser_of.post(of(environment, "settle/"), {"settle_s": "90"})
    assert fresh(environment).settle_s == 90
    shows(browser_of.get(of(environment)), "1 min 30 s between finish and the first minute that is measured")


@pytest.mark.parametrize("wrong", ["-1", "3601", "soon", ""])
def test_a_wrong_settling_time_is_refused_beside_its_field(browser_of, environment, wrong):
    page = browser_of.post(of(environment, "settle/"), {"settle_s": wrong})
    assert page.context["settle_form"].errors["settle_s"]
    assert fresh(environment).settle_s == 0


def test_further_origins_are_shown_and_set_and_what_is_none_is_refused_beside_its_field(browser_of, environment):
    browser_of.post(of(environment, "origins/"), {"origins": " https://green.example:8443\r\n\r\nhttp://10.0.0.1\r\n"})
    assert fresh(environment).origins == ["https://green.example:8443", "http://10.0.0.1"]
    shows(browser_of.get(of(environment)), "https://green.example:8443 http://10.0.0.1")
    for wrong in ("green.example", "https://green.example/metrics", "https://a:b@c", "https://x.example\n" * 30):
        page = browser_of.post(of(environment, "origins/"), {"origins": wrong})
        assert page.context["origins_form"].errors["origins"]
    assert len(fresh(environment).origins) == 2
