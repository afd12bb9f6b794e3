"""Queries of the team pages. Each function needs a fixed number of queries."""

from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Lower
from django.shortcuts import get_object_or_404

from accounts.invitations import State, state_of
from accounts.models import Invitation, Membership, Role, Team, User
from accounts.permissions import Action, Actions, actions_in
from dashboard.teams.forms import roles_for
from deployments.models import Deployment
from projects.models import Project

# Users have a handful; only superusers see all teams.
MOST_TEAMS = 200


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member, and what the user may do with them. roles: that the user may give; empty: none."""

    membership: Membership
    is_me: bool
    roles: list[tuple[str, Any]]
    may_remove: bool


@dataclass(frozen=True, slots=True)
class InvitationRow:
    """A pending invitation. may_change: whether the user may send it again or withdraw it."""

    invitation: Invitation
    is_over: bool
    may_change: bool


@dataclass(frozen=True, slots=True)
class TeamPage:
    """deployments: of all the team's projects, counted only for those who may delete them."""

    team: Team
    actions: Actions
    members: list[MemberRow]
    projects: list[Any]
    invitations: list[InvitationRow] = field(default_factory=list)
    deployments: int = 0

    @property
    def me(self) -> MemberRow | None:
        return next((row for row in self.members if row.is_me), None)

    @property
    def may_leave(self) -> bool:
        """Return whether an owner remains when the user leaves."""
        me = self.me
        if me is None or me.membership.role != Role.OWNER:
            return me is not None
        return any(is_active_owner(row.membership) for row in self.members if not row.is_me)


def is_active_owner(member: Membership) -> bool:
    return member.role == Role.OWNER and member.user.is_active


def counted(rows: QuerySet[Any]) -> Any:
    """Return an annotation: how many of these rows belong to a team."""
    per_team = rows.filter(team=OuterRef("pk")).order_by().values("team").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(per_team), 0)


def teams_of(user: User) -> list[Any]:
    """Return the user's teams by name with `role` (None for a superuser who is no member), counts.

    For a superuser, the first MOST_TEAMS of all. One query.
    """
    mine = Membership.objects.filter(team=OuterRef("pk"), user=user).values("role")[:1]
    teams = (
        Team.objects.visible_to(user)
        .annotate(
            role=Subquery(mine),
            member_count=counted(Membership.objects.all()),
            project_count=counted(Project.objects.not_deleted()),
        )
        .order_by(Lower("name"), "pk")[:MOST_TEAMS]
    )
    return list(teams)


def team_of(user: User, team_id: int) -> tuple[Team, Actions]:
    """Return a team that the user may see, and their actions there. Raises Http404."""
    team = get_object_or_404(Team.objects.visible_to(user), pk=team_id)
    return team, actions_in(user, team)


def team_page(team: Team, actions: Actions, user: User) -> TeamPage:
    """Return the content of the team's page. At most four queries."""
    members = team.memberships.select_related("user").order_by(Lower("user__username"))
    projects: Any = (
        Project.objects.not_deleted()
        .filter(team=team)
        .annotate(environment_count=Count("environments", filter=Q(environments__deleting_at=None)))
        .order_by(Lower("name"))
    )
    deletes = Action.DELETE_TEAM in actions
    return TeamPage(
        team=team,
        actions=actions,
        members=[member_row(member, actions, user) for member in members],
        projects=list(projects),
        invitations=invitations_of(team, actions),
        deployments=Deployment.objects.filter(project__team=team, project__deleting_at=None).count() if deletes else 0,
    )


def member_row(member: Membership, actions: Actions, user: User) -> MemberRow:
    is_me = member.user_id == user.pk
    may = (Action.CHANGE_OWNERS if member.role == Role.OWNER else Action.CHANGE_MEMBERS) in actions
    return MemberRow(member, is_me, roles_for(actions) if may else [], may_remove=may and not is_me)


def invitations_of(team: Team, actions: Actions) -> list[InvitationRow]:
    """Return pending invitations, to users who may invite: others must not see addresses."""
    if Action.INVITE not in actions:
        return []
    waiting = team.invitations.waiting().select_related("invited_by").order_by(Lower("email"))
    return [
        InvitationRow(
            invitation,
            is_over=state_of(invitation) == State.EXPIRED,
            may_change=invitation.role != Role.OWNER or Action.CHANGE_OWNERS in actions,
        )
        for invitation in waiting
    ]
