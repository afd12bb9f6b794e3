"""What deployments are called in logs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from deployments.models import Deployment


def public_ids(pks: Collection[int]) -> Mapping[int, Mapping[str, str]]:
    """By primary key: the ids of deployment and project that the API uses."""
    rows = Deployment.objects.filter(pk__in=pks).values_list("pk", "uuid", "project__uuid")
    return {pk: {"deployment_id": str(uuid), "project_id": str(project)} for pk, uuid, project in rows}
