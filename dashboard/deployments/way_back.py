"""What to do about a bad deployment: the last good one, what was deployed since, and how to go back."""

from dataclasses import dataclass

from dashboard.deployments.forge import SHA, Forge
from dashboard.deployments.queries import siblings_of
from deployments.models import Deployment

# Of the deployments since the last good one, so many are named.
MOST_SINCE = 5
SHOWN_SHA = 10


@dataclass(frozen=True, slots=True)
class WayBack:
    """good: the deployment to go back to; since: others between the two, latest first, and whether there are more.

    commits: address of the commits since, run: of the pipeline of `good`, "" where not known; command: reverts these
    commits, "" where it is not known which.
    """

    good: Deployment
    since: list[Deployment]
    more: bool
    commits: str
    run: str
    command: str


def way_back(deployment: Deployment, good: Deployment, forge: Forge | None) -> WayBack:
    """Return the way from a deployment back to a good one. forge: of its repository. One query."""
    between = siblings_of(deployment).filter(pk__gt=good.pk, pk__lt=deployment.pk).order_by("-pk")
    since = list(between[: MOST_SINCE + 1])
    return WayBack(
        good=good,
        since=since[:MOST_SINCE],
        more=len(since) > MOST_SINCE,
        commits=forge.between(good.commit_sha, deployment.commit_sha) if forge is not None else "",
        run=safe_link(good.url),
        command=reverting(good.commit_sha, deployment.commit_sha),
    )


def reverting(good: str, bad: str) -> str:
    """Return the command that takes back the commits after `good` up to `bad`; "" without two commits.

    Both are given by pipelines, and the command is pasted into a shell: only what is a commit's hash is taken.
    """
    if good == bad or not SHA.fullmatch(good) or not SHA.fullmatch(bad):
        return ""
    return f"git revert --no-edit {good[:SHOWN_SHA]}..{bad[:SHOWN_SHA]}"


def safe_link(url: str) -> str:
    """Return the URL if it is http(s), else "": `javascript:` must not become a link."""
    return url if url.lower().startswith(("https://", "http://")) else ""
