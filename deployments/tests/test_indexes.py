"""Deleting what deployments name finds them by an index, although not each foreign key has one of its own."""

import pytest
from django.db import connection

# The look-ups of PostgreSQL and Django when a row of the other table is deleted.
LOOK_UPS = [
    ("deployments", "project_id"),
    ("deployments", "environment_id"),
    ("deployments", "policy_version_id"),
    ("deployments", "superseded_by_id"),
    ("scheduled_jobs", "deployment_id"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("table", "column"), LOOK_UPS)
def test_foreign_keys_are_looked_up_by_an_index(table: str, column: str) -> None:
    with connection.cursor() as cursor:
        # Tables are empty here, so that reading them would be cheaper.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE look AS SELECT FROM {table} WHERE {column} = $1")
        cursor.execute("EXPLAIN EXECUTE look (1)")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("DEALLOCATE look")
    assert f"({column} = $1)" in plan and "Index Cond" in plan, plan
