"""Answers to the scheduler about the deployments of its jobs: their ids in logs, and whether a job is still needed."""

from collections.abc import Collection, Mapping

from deployments.models import Deployment

# The jobs that such a deployment lost are evidence for its verdict.
NOT_YET_JUDGED = (
    "EXISTS (SELECT 1 FROM deployments WHERE deployments.id = job.deployment_id"
    " AND deployments.state = ANY('{pending,running,finished}'))"
)


def public_ids(pks: Collection[int]) -> Mapping[int, Mapping[str, str]]:
    """Return by primary key the ids of deployment and project that the API uses."""
    rows = Deployment.objects.filter(pk__in=pks).values_list("pk", "uuid", "project__uuid")
    return {pk: {"deployment_id": str(uuid), "project_id": str(project)} for pk, uuid, project in rows}
