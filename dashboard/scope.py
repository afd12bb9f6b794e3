"""Projects and environments visible to a user, loaded once per page, for lists of all projects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Lower

from accounts.models import User
from dashboard.keyset import one_of
from projects.models import Project


@dataclass(frozen=True)
class Seen:
    """A project and its environments by id."""

    pk: int
    uuid: UUID
    name: str
    team: str
    environments: dict[int, str]


@dataclass(frozen=True)
class Scope:
    """The user's projects by name.

    everything: there are no others, so that rows need no filter; going: ids of deleted environments whose rows are
    still being removed.
    """

    projects: tuple[Seen, ...]
    everything: bool
    going: tuple[int, ...] = ()

    @cached_property
    def by_uuid(self) -> dict[str, Seen]:
        return {str(project.uuid): project for project in self.projects}

    @cached_property
    def environment_names(self) -> list[str]:
        return sorted({name for project in self.projects for name in project.environments.values()})

    @cached_property
    def labels(self) -> dict[str, str]:
        """Return names of projects by uuid, with the team's name if two are equal."""
        times = Counter(project.name for project in self.projects)
        return {
            uuid: f"{project.name} ({project.team})" if times[project.name] > 1 else project.name
            for uuid, project in self.by_uuid.items()
        }

    def narrowed(self, uuid: str) -> Scope:
        """Return the scope of one project; empty if it is not visible."""
        found = self.by_uuid.get(uuid)
        return Scope((found,) if found else (), everything=False, going=self.going)

    def condition(self, environment: str = "", prefix: str = "") -> Q:
        """Return the condition for rows of these projects, and of environments with this name ("" for all).

        prefix: path to the deployment, such as "deployment__".
        """
        if environment:
            ids = [pk for project in self.projects for pk, name in project.environments.items() if name == environment]
            return _one_of(f"{prefix}environment_id", ids)
        of_projects = Q() if self.everything else _one_of(f"{prefix}project_id", [one.pk for one in self.projects])
        return of_projects & ~_one_of(f"{prefix}environment_id", self.going) if self.going else of_projects


def _one_of(name: str, ids: Sequence[int]) -> Q:
    # PostgreSQL reads an index in order for one value, but not for a list of one. For none Django asks nothing.
    if len(ids) < 2:
        return Q(**({name: ids[0]} if ids else {f"{name}__in": ids}))
    return one_of(name, ids)


def scope_of(user: User) -> Scope:
    """Load the user's scope. One query, two for a superuser."""
    rows = (
        Project.objects.visible_to(user)
        .order_by(Lower("name"), "id", "environments__name")
        .values_list(
            *("id", "uuid", "name", "team__name"),
            *(f"environments__{column}" for column in ("id", "name", "deleting_at")),
        )
    )
    projects: dict[int, Seen] = {}
    going = []
    for pk, uuid, name, team, environment_id, environment, deleting_at in rows:
        project = projects.setdefault(pk, Seen(pk, uuid, name, team, {}))
        if deleting_at is not None:
            going.append(environment_id)
        elif environment_id is not None:
            project.environments[environment_id] = environment
    everything = user.is_superuser and not Project.objects.filter(deleting_at__isnull=False).exists()
    return Scope(tuple(projects.values()), everything, tuple(going))
