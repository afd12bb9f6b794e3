"""Pages of teams: the user's teams, and one team."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from accounts.models import Role, Team
from accounts.permissions import Action, Actions
from accounts.teams import create_team, rename_team
from dashboard.auth import current_user
from dashboard.page import page
from dashboard.refusals import Refusals
from dashboard.teams.forms import DeleteForm, InvitationForm, TeamForm
from dashboard.teams.labels import ROLES
from dashboard.teams.queries import MOST_TEAMS, TeamPage, team_of, team_page, teams_of
from metrics.deletion import delete_team


@page("GET", "POST", limit="making")
def teams(request: HttpRequest) -> HttpResponse:
    """List the user's teams; on POST, create one."""
    form = TeamForm(request.POST) if request.method == "POST" else TeamForm()
    if form.is_bound and form.is_valid():
        with Refusals(request, form):
            made = create_team(form.cleaned_data["name"], current_user(request))
            messages.success(request, _("The team is there. Invite the people who work with you."))
            return redirect("dashboard:team", team_id=made.pk)
    rows = teams_of(current_user(request))
    return render(request, "dashboard/teams/teams.html", {"rows": rows, "most": MOST_TEAMS, "form": form})


@page(of=team_of)
def team(request: HttpRequest, found: Team, actions: Actions) -> HttpResponse:
    """Show a team: members, invitations, projects."""
    return show(request, team_page(found, actions, current_user(request)))


@page("POST", of=team_of, action=Action.RENAME_TEAM)
def rename(request: HttpRequest, found: Team, actions: Actions) -> HttpResponse:
    form = TeamForm(request.POST)
    if form.is_valid():
        with Refusals(request, form):
            rename_team(found, form.cleaned_data["name"], by=current_user(request))
            messages.success(request, _("The team has its new name."))
            return redirect("dashboard:team", team_id=found.pk)
    return show(request, team_page(found, actions, current_user(request)), rename_form=form)


@page("POST", of=team_of, action=Action.DELETE_TEAM)
def delete(request: HttpRequest, found: Team, actions: Actions) -> HttpResponse:
    form = DeleteForm(request.POST)
    if form.is_valid():
        with Refusals(request, form):
            delete_team(found, typed=form.cleaned_data["typed"], by=current_user(request))
            messages.success(request, _("The team “%(name)s” is deleted.") % {"name": found.name})
            return redirect("dashboard:teams")
    return show(request, team_page(found, actions, current_user(request)), delete_form=form)


def show(
    request: HttpRequest,
    page: TeamPage,
    *,
    invite_form: InvitationForm | None = None,
    rename_form: TeamForm | None = None,
    delete_form: DeleteForm | None = None,
    unsent: dict[str, str] | None = None,
) -> HttpResponse:
    """Render the team's page. unsent: an invitation whose mail was not sent; its link is shown once."""
    context = {
        "page": page,
        "team": page.team,
        "roles": [(Role(role).label, words) for role, words in ROLES.items()],
        "invite_form": invite_form or InvitationForm(page.actions),
        "rename_form": rename_form or TeamForm({"name": page.team.name}),
        "delete_form": delete_form or DeleteForm(),
        "unsent": unsent,
    }
    return render(request, "dashboard/teams/team.html", context)
