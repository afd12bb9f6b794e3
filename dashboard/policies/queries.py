"""Queries of the page of an environment's policy. Each function needs a fixed number."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.shortcuts import get_object_or_404

from accounts.models import User
from accounts.permissions import Actions
from analysis.replay import compare, judged, replay
from deployments.models import Deployment
from projects.models import Environment, ExcludedWindow, PolicySource, PolicyVersion
from projects.policy import DEFAULT_KIND, InvalidPolicy, Policy, policy_from_dict

REPLAYED = 50
VERSIONS_SHOWN = 20
WINDOWS_SHOWN = 50
LONGEST_VALUE = 80


# Path, value before, value after, as JSON; "" for the default.
Change = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class PolicyPage:
    """An environment with its policy.

    versions: each with its changes from the previous one; current: number of its version, 0 if there is none.
    """

    environment: Environment
    actions: Actions
    versions: list[tuple[PolicyVersion, list[Change]]]
    current: int
    windows: list[ExcludedWindow]

    @property
    def from_file(self) -> bool:
        """Return whether the current policy came with a trigger call: the next call will send it again."""
        return bool(self.versions) and self.versions[0][0].source == PolicySource.FILE


def readable(policy: Any) -> Policy | None:
    """Parse a stored policy; None if it is unreadable."""
    try:
        return policy_from_dict(policy)
    except InvalidPolicy:
        return None


def visible_environment(user: User, environment_id: int) -> Environment:
    """Return the environment. Raises Http404, the same for an unknown one and one of another team."""
    return get_object_or_404(Environment.objects.visible_to(user).select_related("project__team"), pk=environment_id)


def environment_of(user: User, environment_id: int) -> tuple[Environment, Actions]:
    """Return an environment and the user's actions. Raises Http404."""
    environment = visible_environment(user, environment_id)
    return environment, environment.project.actions_of(user)


def policy_page(environment: Environment, actions: Actions) -> PolicyPage:
    """Load versions and excluded windows of the environment. Two queries."""
    rows = environment.policy_versions.select_related("created_by").order_by("-number")[: VERSIONS_SHOWN + 1]
    versions = list(rows)
    older = [version.policy for version in versions[1:]] + [{}]
    return PolicyPage(
        environment=environment,
        actions=actions,
        versions=[
            (version, changes(before, version.policy))
            for version, before in zip(versions[:VERSIONS_SHOWN], older, strict=False)
        ],
        current=versions[0].number if versions else 0,
        windows=list(environment.excluded_windows.select_related("created_by").order_by("-starts_at")[:WINDOWS_SHOWN]),
    )


def changes(before: Any, after: Any) -> list[Change]:
    """Return the differences between two stored policies, by path."""
    # A policy without a kind has the default kind: naming it is not a change.
    old, new = ({"kind": json.dumps(DEFAULT_KIND), **dict(_leaves(policy))} for policy in (before, after))
    paths = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    return [(path, old.get(path, ""), new.get(path, "")) for path in paths]


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif tree is not None:
        text = json.dumps(tree, ensure_ascii=False)
        yield path, text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def replay_recent(environment: Environment, policy: Policy) -> dict[str, Any]:
    """Replay the last judged deployments of the environment with this policy. Writes nothing.

    gone: number of deployments without stored samples, which could not be replayed.
    """
    rows = judged(Deployment.objects.filter(environment=environment))
    replayed = replay(list(rows.order_by("-id")[:REPLAYED]), policy)
    usable = [one for one in replayed if one.complete]
    return {
        "changed": [one for one in usable if one.changed],
        "comparison": compare(usable),
        "gone": len(replayed) - len(usable),
    }
