"""Samples in partitions: what the judge and the API read of them, and what stays when they are gone."""

from datetime import timedelta

import pytest
from django.utils import timezone

from analysis.evidence import load_evidence
from analysis.models import DeploymentVerdict, Hint
from analysis.services import assess, store_judgement
from analysis.tests.plans import assert_few_partitions_by_index, make_history, plans_of
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import Pipeline
from metrics.levels import aggregate
from metrics.models import MetricLevel, MetricSample
from metrics.retention import sweep
from metrics.tests.factories import make_samples
from projects.tests.factories import make_api_key

pytestmark = pytest.mark.django_db


def test_the_evidence_comes_from_indexes_of_few_partitions() -> None:
    deployment = make_history()
    with plans_of("metric_samples") as plans:
        load_evidence([deployment], timezone.now())
    assert len(plans) >= 2
    assert_few_partitions_by_index(plans)


def test_levels_are_computed_by_an_index_whatever_the_day_has() -> None:
    deployment = make_history()
    aggregate(deployment.started_at)
    assert MetricLevel.objects.count() > 800
    with plans_of("INSERT INTO metric_levels") as plans:
        aggregate(deployment.started_at + timedelta(minutes=5))
    assert len(plans) == 1
    assert_few_partitions_by_index(plans)


@pytest.mark.parametrize("path", ["/deployments/{}", "/deployments/{}/verdict", "/deployments/{}/metrics"])
def test_the_api_reads_few_partitions(path: str) -> None:
    deployment = make_history()
    _, key = make_api_key(project=deployment.project)
    with plans_of("metric_samples") as plans:
        assert Pipeline(key).get(path.format(deployment.uuid)).status_code in (200, 202)
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
