"""Query plans, above all of what reads samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deployments.models import Deployment
from deployments.tests.factories import make_deployment
from metrics import partitions
from metrics.models import MetricSample
from metrics.tests.factories import HEALTHY, make_samples
from projects.tests.factories import make_environment


@contextmanager
def plans_of(text: str = "") -> Iterator[list[str]]:
    """Yield a list that has, after the block, PostgreSQL's plan of each query of the block that contains the text.

    Without what was never executed: which partitions are read may turn out only when a statement runs.
    """
    plans: list[str] = []
    with CaptureQueriesContext(connection) as queries:
        yield plans
    with connection.cursor() as cursor:
        for sql in (query["sql"] for query in queries.captured_queries):
            if text in sql and not sql.startswith("EXPLAIN"):
                with transaction.atomic():
                    cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}")
                    lines = [row[0] for row in cursor.fetchall()]
                    transaction.set_rollback(True)
                plans.append("\n".join(line for line in lines if "(never executed)" not in line))


def make_history() -> Deployment:
    """A deployment at noon five days from now, with thousands of samples around it, analysed for the planner.

    They are spread over the days. Where a window covers much of what a day has, reading all of it costs about as much
    as an index, and chance decides.
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
        for second in range(-43_200, 43_200, 300 if number else 15)
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
