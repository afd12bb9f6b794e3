"""Find the deployment that a tool means that has no id: by environment, and by commit or version."""

from uuid import UUID

from deployments.models import Deployment
from deployments.rollbacks import of_commit
from deployments.services import unknown_environment
from projects.models import Environment, Project


def environment_named(project: Project, name: str) -> Environment:
    """Return the project's environment of this name. Raises UnknownEnvironment."""
    found = project.environments.not_deleted().filter(name=name).first()
    if found is None:
        raise unknown_environment(project, name)
    return found


def latest_of(environment: Environment, commit: str = "", version: str = "") -> UUID | None:
    """Return the id of the environment's latest deployment, of this commit and version where they are not empty."""
    rows = Deployment.objects.filter(environment=environment)
    if version:
        rows = rows.filter(version=version)
    if commit:
        rows = of_commit(rows, commit)
    return rows.order_by("-started_at", "-pk").values_list("uuid", flat=True).first()
