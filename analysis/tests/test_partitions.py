"""Samples in partitions: what the judge and the API read of them, and what stays when they are gone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analysis.evidence import load_evidence
from analysis.models import DeploymentVerdict, Hint
from analysis.services import assess, store_judgement
from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from metrics import partitions
from metrics.models import MetricSample
from metrics.retention import sweep
from metrics.tests.factories import HEALTHY, make_samples
from projects.tests.factories import make_api_key, make_environment

pytestmark = pytest.mark.django_db


def plans_of_samples(queries: CaptureQueriesContext) -> list[str]:
    """The plans of those of the queries that read samples."""
    found = []
    with connection.cursor() as cursor:
        for query in queries.captured_queries:
            if "metric_samples" in query["sql"]:
                cursor.execute("EXPLAIN " + query["sql"])
                found.append("\n".join(row[0] for row in cursor.fetchall()))
    return found


def make_history() -> Deployment:
    """A deployment at noon five days from now, with thousands of samples around it, analysed for the planner.

    With fewer of them, an index costs about as much as reading the whole day, and chance decides.
    """
    partitions.make_ahead()
    # Around midnight a window would reach into a day with so few samples that the planner rightly reads them all.
    at = (timezone.now() + timedelta(days=5)).replace(hour=12)
    environment = make_environment()
    deployment = make_deployment(environment=environment, state="finished", started_at=at)
    MetricSample.objects.bulk_create(
        MetricSample(
            environment=environment,
            phase="baseline",
            collected_at=at + timedelta(days=number, seconds=second),
            **HEALTHY,
        )
        for number in range(-3, 3)
        for second in range(900)
    )
    for other in [make_deployment(environment=environment, state="finished", started_at=at) for _ in range(40)]:
        make_samples(other)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE metric_samples")
    return deployment


def names() -> list[str]:
    return [partition.name for partition in partitions.partitions()]


def assert_few_partitions(plans: list[str]) -> None:
    for plan in plans:
        assert len({name for name in names() if name in plan}) <= 3, plan


def assert_few_partitions_by_index(plans: list[str]) -> None:
    assert_few_partitions(plans)
    for plan in plans:
        assert "Seq Scan on metric_samples" not in plan, plan


def test_the_evidence_comes_from_indexes_of_few_partitions() -> None:
    deployment = make_history()
    with CaptureQueriesContext(connection) as queries:
        load_evidence([deployment], timezone.now())
    plans = plans_of_samples(queries)
    assert len(plans) >= 2
    assert_few_partitions_by_index(plans)


@pytest.mark.parametrize("path", ["/deployments/{}", "/deployments/{}/verdict", "/deployments/{}/metrics"])
def test_the_api_reads_few_partitions(path: str, client: Client) -> None:
    deployment = make_history()
    _, key = make_api_key(project=deployment.project)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path.format(deployment.uuid), headers={"X-API-Key": key}).status_code in (200, 202)
    plans = plans_of_samples(queries)
    assert len(plans) == 1
    assert_few_partitions_by_index(plans)


@pytest.mark.django_db(transaction=True)
def test_verdicts_hints_and_their_evidence_outlive_the_samples() -> None:
    deployment = make_deployment(state="finished", started_at=timezone.now() - timedelta(days=100))
    make_samples(deployment, error_rate=0.4)
    store_judgement(deployment.pk, assess(load_evidence([deployment], timezone.now())[deployment.pk]))
    before = DeploymentVerdict.objects.values().get()
    hints = list(Hint.objects.values())
    assert hints
    sweep()
    assert not MetricSample.objects.exists()
    assert DeploymentVerdict.objects.values().get() == before
    assert list(Hint.objects.values()) == hints
