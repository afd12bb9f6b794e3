"""The status page: what everybody sees, and what staff see besides."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from dashboard.status.queries import SAMPLES, SAMPLES_WITHIN_MIN, details, read_details
from dashboard.tests.pages import queries_of, shows, words
from deployments.models import State
from metrics.models import MetricSample, Phase
from scheduler.health import health
from tests.factories import HEALTHY, make_deployment, make_environment, make_job, make_poller, make_user, make_verdict

pytestmark = pytest.mark.django_db

STATUS, LIVE = "/dashboard/status/", "/dashboard/status/live/"


@pytest.fixture(autouse=True)
def fresh_answers() -> Iterator[None]:
    for cached in (health, details):
        cached.forget()
    yield
    for cached in (health, details):
        cached.forget()


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(make_user(is_staff=True))
    return client


@pytest.mark.parametrize("path", [STATUS, LIVE])
def test_everyone_sees_whether_it_works_and_only_staff_the_machinery(browser_of, path):
    make_poller("one")
    make_poller("two")
    text = words(browser_of.get(path))
    assert "All is well" in text
    assert "Pollers OK 2 pollers are at work." in text
    assert "Samples and verdicts OK They come on time." in text
    for hidden in ("host-of-one", "4711", "Size of the database"):
        assert hidden not in text


def test_what_is_wrong_is_reported_in_words(browser_of):
    make_poller("one", age_s=3600)
    make_job(120)
    text = words(browser_of.get(STATUS))
    assert "Something is wrong" in text
    assert "Pollers Needs attention None has been heard of: nothing is measured until one is started." in text
    assert "Samples and verdicts Needs attention They come late" in text


def test_staff_see_pollers_jobs_and_data(staff):
    make_poller("one")
    make_poller("gone", age_s=120)
    make_job(90)
    make_job(-90)
    environment = make_environment()
    make_verdict(make_deployment(environment=environment, state=State.FINISHED))
    now = timezone.now()
    for phase, ago_s in ((Phase.BASELINE, 10), (Phase.POST, 20), (Phase.PRE, 3600)):
        MetricSample.objects.create(
            environment=environment, phase=phase, collected_at=now - timedelta(seconds=ago_s), **HEALTHY
        )
    text = words(staff.get(STATUS))
    assert "one at work just now 0 host-of-one 4711" in text
    assert "gone silent 2 min ago 0 host-of-gone 4711" in text
    assert "Waiting 2 Late 1 Oldest due job" in text
    # It goes on waiting while the rest is made and the page is written.
    assert re.search(r"Oldest due job baseline_sweep , waiting for 1 min 3\d s", text)
    shows(text, "Last verdict just now", f"Samples per minute {2 / SAMPLES_WITHIN_MIN:g}", "made until")


def test_without_pollers_and_jobs_staff_see_how_to_start(staff):
    text = words(staff.get(STATUS))
    shows(text, "None. Start one: manage.py run_poller", "Oldest due job none is due", "Last verdict none yet")


def test_a_database_that_does_not_tell_in_time_is_reported(staff, monkeypatch):
    make_poller("one")
    monkeypatch.setattr("dashboard.status.queries.SIZE", "SELECT pg_sleep(60)")
    monkeypatch.setattr("dashboard.status.queries.HEALTH_TIMEOUT_MS", 1)
    monkeypatch.setattr("dashboard.status.queries.connection.close", lambda: None)
    assert "The database did not tell in time." in words(staff.get(STATUS))


def test_many_who_look_ask_the_database_once(staff, monkeypatch):
    for cached in (health, details):
        # Longer than any machine takes from one look to the next.
        monkeypatch.setattr(cached, "seconds", 600.0)
    make_poller("one")
    staff.get(STATUS)
    # Session and user.
    assert queries_of(staff, LIVE) == 2


def test_the_index_serves_the_count_of_samples() -> None:
    """Else each look would read all samples of the day."""
    make_environment()
    with connection.cursor() as cursor:
        # Not by what other tests left behind in the statistics.
        cursor.execute("ANALYZE metric_samples, projects_environment")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute("EXPLAIN " + SAMPLES, {"phases": list(Phase.values), "minutes": SAMPLES_WITHIN_MIN})
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index Cond: ((environment_id" in plan
    found = read_details()
    assert found is not None
    assert found.partitions > 0


def test_a_failed_job_is_named_and_the_headline_agrees(staff):
    make_poller("one")
    make_job(job_type="analysis", status="failed", finished_at=timezone.now(), last_error="it broke")
    text = words(staff.get(STATUS))
    assert "It works, but something needs attention" in text
    assert "All is well" not in text
    assert re.search(r"analysis – 1 just now SeqPulse it broke", text)


def test_the_endpoint_of_a_user_that_fails_is_no_trouble_of_the_jobs_and_is_named(staff):
    make_poller("one")
    environment = make_environment()
    found = {"status": "failed", "finished_at": timezone.now(), "last_error": "the endpoint answered HTTP 404"}
    for _ in range(3):
        make_job(job_type="baseline_collect", job_metadata={"environment_id": environment.pk}, **found)
    make_job(job_type="baseline_collect", job_metadata={"environment_id": "x"}, **found)
    deployment = make_deployment(environment=environment)
    make_job(job_type="post_collect", deployment=deployment, **found)
    text = words(staff.get(STATUS))
    assert "All is well" in text
    assert "Needs attention" not in text
    where = f"{environment.project.name} / {environment.name}"
    assert f"baseline_collect {where} 3 just now the metrics endpoint the endpoint answered HTTP 404" in text
    assert f"post_collect {where} 1 just now" in text
    assert "baseline_collect – 1 just now" in text
