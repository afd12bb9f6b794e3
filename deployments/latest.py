"""Find the deployment that a tool means that has no id: by environment, and by commit or version."""

from uuid import UUID

from django.db.models.functions import Left, Lower

from deployments.commits import SHORTEST_SHA
from deployments.models import Deployment
from deployments.rollbacks import is_same
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
        # The index knows the first characters, which a commit and its abbreviation share.
        beginning = Left(Lower("commit_sha"), SHORTEST_SHA)
        known = rows.exclude(commit_sha="").alias(beginning=beginning, lowered=Lower("commit_sha"))
        rows = known.filter(is_same(commit), beginning=commit[:SHORTEST_SHA].lower())
    return rows.order_by("-started_at", "-pk").values_list("uuid", flat=True).first()
