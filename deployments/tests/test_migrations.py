"""Migrations that move data."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from deployments.models import Deployment, DeploymentKey
from deployments.tests.factories import make_deployment
from projects.tests.factories import make_environment


def migrate(name: str | None = None) -> None:
    """Migrate this app's tables to the migration of this name, or to the latest ones."""
    executor = MigrationExecutor(connection)
    leaves: list[Any] = executor.loader.graph.leaf_nodes()
    executor.migrate([("deployments", name)] if name else leaves)


@pytest.mark.django_db(transaction=True)
def test_keys_of_before_are_kept_and_going_back_leaves_each_key_to_its_first_deployment() -> None:
    prod = make_environment()
    staging = make_environment(project=prod.project, name="staging")
    first = make_deployment(environment=staging, idempotency_key="run-1")
    make_deployment(environment=prod, idempotency_key="run-1")
    try:
        migrate("0001_initial")
        with connection.cursor() as cursor:
            cursor.execute("SELECT idempotency_key FROM deployments ORDER BY id")
            assert cursor.fetchall() == [("run-1",), (None,)]
    finally:
        migrate()
    assert list(DeploymentKey.objects.values_list("environment", "key", "deployment")) == [
        (staging.pk, "run-1", first.pk)
    ]
    assert set(Deployment.objects.values_list("kind", "commit_message", "settle_s")) == {("deployment", "", 0)}
