"""Find what a user looks for by a few words: deployments, projects, environments and their pages, pages, actions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from accounts.permissions import may_create_project
from dashboard.deployments.filters import DeploymentFilters
from dashboard.deployments.listing import deployments_page
from dashboard.labels import Status
from dashboard.scope import Scope, scope_of

# Of each group.
MOST = 8
PAGES = (
    (gettext_lazy("Overview"), "overview"),
    (gettext_lazy("Deployments"), "deployments"),
    (gettext_lazy("Hints"), "hints"),
    (gettext_lazy("Projects"), "projects"),
    (gettext_lazy("Settings"), "settings"),
    (gettext_lazy("Sessions"), "sessions"),
    (gettext_lazy("Teams"), "teams"),
    (gettext_lazy("Status"), "status"),
)
# Pages of an environment, by the words that are added to its name.
OF_ENVIRONMENT = (
    ("", "environment", ""),
    (gettext_lazy("Policy"), "policy", ""),
    (gettext_lazy("Verify now"), "environment", "#verify"),
    (gettext_lazy("History import"), "history", ""),
)


@dataclass(frozen=True, slots=True)
class Found:
    """One result. note: a second line; status: of a deployment."""

    title: str
    url: str
    note: str = ""
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Group:
    label: str
    found: list[Found]


def found_for(user: User, text: str) -> list[Group]:
    """Return what matches all words, by kind, and nothing that the user may not see. At most seven queries.

    Without words the pages and actions are offered.
    """
    scope = scope_of(user)
    words = text.casefold().split()
    groups = [
        (_("Deployments"), deployments(scope, text) if words else ()),
        (_("Projects"), named(words, of_projects(scope)) if words else ()),
        (_("Environments"), named(words, of_environments(scope)) if words else ()),
        (_("Pages"), named(words, of_pages())),
        (_("Actions"), named(words, of_actions(user))),
    ]
    return [Group(str(label), rows) for label, found in groups if (rows := list(islice(found, MOST)))]


def named(words: list[str], entries: Iterable[Found]) -> Iterator[Found]:
    """Yield the entries whose title has all words."""
    return (entry for entry in entries if all(word in entry.title.casefold() for word in words))


def deployments(scope: Scope, text: str) -> Iterator[Found]:
    """Yield deployments by number, commit, branch, version, author or project, as their list finds them."""
    if text.isdecimal():
        text = f"#{text}"
    filters = DeploymentFilters({"q": text}, scope)
    if not filters.is_valid():
        return
    for row in deployments_page(filters, size=MOST).rows:
        one: Any = row.deployment
        about = " · ".join(filter(None, (one.version, one.commit_sha[:8], one.branch, one.commit_title)))
        title = f"#{one.number} {one.project.name} {one.environment.name}"
        yield Found(title, reverse("dashboard:deployment", args=[one.uuid]), row.finding or about, row.status)


def of_projects(scope: Scope) -> Iterator[Found]:
    for uuid, label in scope.labels.items():
        yield Found(label, reverse("dashboard:project", args=[uuid]))


def of_environments(scope: Scope) -> Iterator[Found]:
    for words, view, anchor in OF_ENVIRONMENT:
        for project in scope.projects:
            for pk, name in project.environments.items():
                title = " ".join(filter(None, (scope.labels[str(project.uuid)], name, str(words))))
                yield Found(title, reverse(f"dashboard:{view}", args=[pk]) + anchor)


def of_pages() -> Iterator[Found]:
    for label, view in PAGES:
        yield Found(str(label), reverse(f"dashboard:{view}"))
    yield Found(_("API"), reverse("docs"))


def of_actions(user: User) -> Iterator[Found]:
    if may_create_project(user):
        yield Found(_("New project"), reverse("dashboard:project-new"))
