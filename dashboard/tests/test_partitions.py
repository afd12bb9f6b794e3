"""Pages read the samples of the days that they show, not all that there ever were."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import make_membership
from analysis.tests.plans import (
    assert_few_partitions,
    assert_few_partitions_by_index,
    make_history,
    plans_of_samples,
)

pytestmark = pytest.mark.django_db


def plans_of_page(client: Client, path: str) -> list[str]:
    deployment = make_history()
    client.force_login(make_membership(team=deployment.project.team).user)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path.format(deployment.uuid)).status_code == 200
    return plans_of_samples(queries)


def test_a_deployments_page_reads_few_partitions_by_index(client: Client) -> None:
    plans = plans_of_page(client, "/dashboard/deployments/{}/")
    assert len(plans) == 1
    assert_few_partitions_by_index(plans)


def test_the_list_reads_few_partitions(client: Client) -> None:
    plans = plans_of_page(client, "/dashboard/deployments/")
    assert len(plans) == 1
    assert_few_partitions(plans)
