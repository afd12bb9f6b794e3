"""Find out whether a deployment rolls back: by the commits of its environment's earlier deployments."""

from django.db.models import Q
from django.db.models.functions import Left, Lower

from deployments.commits import SHA, SHORTEST_SHA, same_commit
from deployments.models import Deployment, DeploymentQuerySet, Kind
from projects.models import Environment


def rolls_back_to(environment: Environment, commit: str) -> Deployment | None:
    """Return the latest good deployment of this commit, where the environment's last deployment has another one.

    None also where the commit of either is not known. A verification deploys nothing, so it is neither.
    """
    if not commit:
        return None
    deployed = Deployment.objects.filter(environment=environment).exclude(kind=Kind.VERIFICATION)
    earlier = deployed.order_by("-started_at", "-pk")
    last = earlier.values_list("commit_sha", flat=True).first()
    if not last or same_commit(last, commit):
        return None
    return of_commit(earlier, commit).good().only("number", "commit_sha").first()


def of_commit(rows: DeploymentQuerySet, commit: str) -> DeploymentQuerySet:
    """Return those of the deployments that are of this commit, or of an abbreviation of it."""
    # The index knows the first characters, which a commit and its abbreviation share.
    beginning = Left(Lower("commit_sha"), SHORTEST_SHA)
    known = rows.exclude(commit_sha="").alias(beginning=beginning, lowered=Lower("commit_sha"))
    return known.filter(is_same(commit), beginning=commit[:SHORTEST_SHA].lower())


def is_same(commit: str) -> Q:
    """Return `same_commit` for rows whose commit is annotated as `lowered`: there may be thousands of one commit."""
    given = commit.lower()
    if not SHA.fullmatch(given):
        return Q(lowered=given)
    abbreviations = [given[:length] for length in range(SHORTEST_SHA, len(given) + 1)]
    return Q(lowered__in=abbreviations) | Q(lowered__startswith=given, lowered__regex=f"^{SHA.pattern}$")
