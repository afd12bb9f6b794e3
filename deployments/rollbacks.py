"""Find out whether a deployment rolls back: by the commits of its environment's earlier deployments."""

from django.db.models import Subquery
from django.db.models.functions import Left, Lower

from deployments.commits import SHORTEST_SHA, same_commit
from deployments.models import Deployment
from projects.models import Environment


def rolls_back_to(environment: Environment, commit: str) -> Deployment | None:
    """Return the latest good deployment of this commit, where the environment's last deployment has another one.

    None also where the commit of either is not known. One query at most.
    """
    if not commit:
        return None
    last = Deployment.objects.filter(environment=environment).order_by("-started_at", "-pk").values("commit_sha")[:1]
    # The index knows the first characters, which a commit and its abbreviation share.
    beginning = Left(Lower("commit_sha"), SHORTEST_SHA)
    candidates = (
        Deployment.objects.filter(environment=environment)
        .exclude(commit_sha="")
        .alias(beginning=beginning)
        .filter(beginning=commit[:SHORTEST_SHA].lower())
        .good()
        .annotate(last_commit=Subquery(last))
        .order_by("-started_at", "-pk")
    )
    for found in candidates.only("number", "commit_sha"):
        last_commit: str = found.last_commit  # type: ignore[attr-defined]  # annotated
        if not last_commit or same_commit(last_commit, commit):
            return None
        if same_commit(found.commit_sha, commit):
            return found
    return None
