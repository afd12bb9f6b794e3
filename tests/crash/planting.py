"""Create many deployments under observation."""

from django.db import connection, transaction

from deployments.services import Trigger, finish_deployment, start_deployment
from explain.facts import Fact
from projects.services import create_project
from scheduler.models import ScheduledJob
from scheduler.queue import cancel


def plant_one(name: str, endpoint: str, *, deployments: int, within_s: float, of_use_s: float = 120.0) -> None:
    """Create a project with deployments of one endpoint whose POST samples are due evenly within `within_s` seconds.

    The PRE samples are cancelled.

    Args:
        of_use_s: seconds after its due time until a sample expires.
    """
    made = create_project(name, environment="prod", endpoint=endpoint)
    with transaction.atomic():
        ids = []
        for _ in range(deployments):
            deployment = start_deployment(made.project, Trigger(env="prod")).deployment
            finish_deployment(made.project, deployment.uuid, result="success")
            ids.append(deployment.pk)
        cancel(ids, ["pre_collect"], Fact("superseded"))
        jobs = ScheduledJob.objects.filter(deployment_id__in=ids, job_type="post_collect")
        with connection.cursor() as cursor:
            # Not now(), the start of the transaction: creating the deployments takes a while.
            cursor.execute(
                "UPDATE scheduled_jobs AS job SET scheduled_at = begun.at + place * %s * interval '1 second',"
                " expires_at = begun.at + (place * %s + %s) * interval '1 second'"
                " FROM (SELECT clock_timestamp() AS at) AS begun,"
                " (SELECT id, (row_number() OVER (ORDER BY sequence_index, id))::float8 / %s AS place"
                "   FROM scheduled_jobs WHERE id = ANY(%s)) AS spread WHERE job.id = spread.id",
                [within_s, within_s, of_use_s, jobs.count(), list(jobs.values_list("pk", flat=True))],
            )
            cursor.execute("SELECT pg_notify('seqpulse_jobs', '')")
