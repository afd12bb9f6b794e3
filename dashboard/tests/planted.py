"""A long history, written by the database: one deployment an hour, each with its verdict."""

from collections.abc import Sequence

from django.db import connection

from projects.models import Environment

DEPLOYMENTS = """
INSERT INTO deployments (uuid, number, project_id, environment_id, state, pipeline_result, started_at, finished_at,
    duration_ms, branch, commit_sha, version, author, url, window_samples, interval_s)
SELECT gen_random_uuid(), n + 10, %(project)s, (%(environments)s::bigint[])[1 + n %% %(count)s], 'analyzed', 'success',
    now() - n * interval '1 hour', now() - n * interval '1 hour' + interval '1 minute', 60000, 'main', '', '', '', '',
    5, 60
FROM generate_series(1, 20000) AS n
"""
VERDICTS = """
INSERT INTO deployment_verdicts (deployment_id, verdict, confidence, conclusive, score, summary, failed_metrics, checks,
    quality, policy, evidence, early, shadow, created_at)
SELECT id, CASE WHEN number % 20 = 0 THEN 'rollback_recommended' ELSE 'ok' END, 0.9, true, 0.1,
    repeat('As before. ', 150), '[]', '[]', '{}', '{}', '{}', false, false, finished_at + interval '5 minutes'
FROM deployments
"""


def plant(environments: Sequence[Environment]) -> None:
    """20,000 deployments with verdicts, in turn in these environments of one project; every 20th recommends a rollback.

    All tables are analysed: otherwise statistics that other tests left behind decide on plans.
    """
    ids = [environment.pk for environment in environments]
    with connection.cursor() as cursor:
        cursor.execute(DEPLOYMENTS, {"project": environments[0].project_id, "environments": ids, "count": len(ids)})
        cursor.execute(VERDICTS)
        cursor.execute("ANALYZE")
