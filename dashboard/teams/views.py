"""Pages of teams: the user's teams, one team, and changes of its members and invitations."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts import invitations
from accounts.invitations import Invited, invite
from accounts.models import Role, Team
from accounts.permissions import Action, Actions
from accounts.teams import change_role, create_team, leave_team, remove_member, rename_team
from dashboard.forms import Refusals
from dashboard.labels import ROLES, name_of
from dashboard.page import current_user, page
from dashboard.teams.forms import DeleteForm, InvitationForm, TeamForm
from dashboard.teams.mail import send_invitation
from dashboard.teams.queries import MOST_TEAMS, team_of, team_page, teams_of
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
    return show(request, found, actions)


@page("POST", of=team_of, action=Action.RENAME_TEAM)
def rename(request: HttpRequest, found: Team, actions: Actions) -> HttpResponse:
    form = TeamForm(request.POST)
    if form.is_valid():
        with Refusals(request, form):
            rename_team(found, form.cleaned_data["name"], by=current_user(request))
            messages.success(request, _("The team has its new name."))
            return redirect("dashboard:team", team_id=found.pk)
    return show(request, found, actions, rename_form=form)


@page("POST", of=team_of, action=Action.DELETE_TEAM)
def delete(request: HttpRequest, found: Team, actions: Actions) -> HttpResponse:
    form = DeleteForm(request.POST)
    if form.is_valid():
        with Refusals(request, form):
            delete_team(found, typed=form.cleaned_data["typed"], by=current_user(request))
            messages.success(request, _("The team “%(name)s” is deleted.") % {"name": found.name})
            return redirect("dashboard:teams")
    return show(request, found, actions, delete_form=form)


@page("POST", of=team_of)
def change(request: HttpRequest, found: Team, actions: Actions, membership_id: int) -> HttpResponse:
    """Change a member's role."""
    with Refusals(request):
        member = change_role(found, membership_id, request.POST.get("role", ""), by=current_user(request))
        words = _("%(name)s has the role %(role)s now.")
        messages.success(request, words % {"name": name_of(member.user), "role": member.get_role_display()})
    return redirect("dashboard:team", team_id=found.pk)


@page("POST", of=team_of)
def remove(request: HttpRequest, found: Team, actions: Actions, membership_id: int) -> HttpResponse:
    """Remove a member."""
    with Refusals(request):
        gone = remove_member(found, membership_id, by=current_user(request))
        messages.success(request, _("%(name)s is no longer in the team.") % {"name": name_of(gone)})
        if gone == current_user(request):
            return redirect("dashboard:teams")
    return redirect("dashboard:team", team_id=found.pk)


@page("POST", of=team_of)
def leave(request: HttpRequest, found: Team, actions: Actions) -> HttpResponse:
    """Leave the team."""
    with Refusals(request):
        leave_team(found, current_user(request))
        messages.success(request, _("You have left the team “%(name)s”.") % {"name": found.name})
        return redirect("dashboard:teams")
    return redirect("dashboard:team", team_id=found.pk)


@page("POST", of=team_of, action=Action.INVITE, limit="invitation")
def send(request: HttpRequest, found: Team, actions: Actions) -> HttpResponse:
    """Invite by mail."""
    form = InvitationForm(actions, request.POST)
    if form.is_valid():
        with Refusals(request, form):
            made = invite(found, form.cleaned_data["email"], form.cleaned_data["role"], by=current_user(request))
            return mail(request, found, actions, made)
    return show(request, found, actions, invite_form=form)


@page("POST", of=team_of, action=Action.INVITE, limit="invitation")
def resend(request: HttpRequest, found: Team, actions: Actions, invitation_id: int) -> HttpResponse:
    """Send the invitation again with a new link; the old link ends."""
    with Refusals(request):
        return mail(request, found, actions, invitations.resend(found, invitation_id, by=current_user(request)))
    return redirect("dashboard:team", team_id=found.pk)


@page("POST", of=team_of, action=Action.INVITE)
def revoke(request: HttpRequest, found: Team, actions: Actions, invitation_id: int) -> HttpResponse:
    """Withdraw the invitation, unless it was accepted meanwhile."""
    with Refusals(request):
        if invitations.revoke(found, invitation_id, by=current_user(request)):
            messages.success(request, _("The invitation is withdrawn. Its link leads nowhere any more."))
        else:
            messages.error(request, _("This invitation was accepted or withdrawn already."))
    return redirect("dashboard:team", team_id=found.pk)


def mail(request: HttpRequest, found: Team, actions: Actions, made: Invited) -> HttpResponse:
    """Send the stored invitation. Where no mail can be sent, the page shows its link once."""
    link = request.build_absolute_uri(reverse("dashboard:invitation", args=[made.token]))
    address = made.invitation.email
    if send_invitation(made.invitation, link, sender=current_user(request)):
        messages.success(request, _("The invitation is on its way to %(email)s.") % {"email": address})
        return redirect("dashboard:team", team_id=found.pk)
    return show(request, found, actions, unsent={"email": address, "link": link})


def show(request: HttpRequest, found: Team, actions: Actions, **given: Any) -> HttpResponse:
    """Render the team's page. given: submitted forms with their errors; unsent: an invitation whose mail was not sent,
    and whose link is shown once."""
    context = {
        "page": team_page(found, actions, current_user(request)),
        "team": found,
        "roles": [(Role(role).label, words) for role, words in ROLES.items()],
        "invite_form": InvitationForm(actions),
        "rename_form": TeamForm({"name": found.name}),
        "delete_form": DeleteForm(),
    }
    return render(request, "dashboard/teams/team.html", context | given)
