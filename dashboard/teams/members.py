"""Views that change members and invitations of a team."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts import invitations, teams
from accounts.invitations import Invited, invite
from accounts.models import Team
from accounts.permissions import Action, Actions
from dashboard.auth import current_user
from dashboard.page import page
from dashboard.refusals import Refusals
from dashboard.teams.forms import InvitationForm
from dashboard.teams.labels import name_of
from dashboard.teams.mail import send_invitation
from dashboard.teams.queries import team_of, team_page
from dashboard.teams.views import show


@page("POST", of=team_of)
def change(request: HttpRequest, team: Team, actions: Actions, membership_id: int) -> HttpResponse:
    """Change a member's role."""
    with Refusals(request):
        member = teams.change_role(team, membership_id, request.POST.get("role", ""), by=current_user(request))
        words = _("%(name)s has the role %(role)s now.")
        messages.success(request, words % {"name": name_of(member.user), "role": member.get_role_display()})
    return redirect("dashboard:team", team_id=team.pk)


@page("POST", of=team_of)
def remove(request: HttpRequest, team: Team, actions: Actions, membership_id: int) -> HttpResponse:
    """Remove a member."""
    with Refusals(request):
        gone = teams.remove_member(team, membership_id, by=current_user(request))
        messages.success(request, _("%(name)s is no longer in the team.") % {"name": name_of(gone)})
        if gone == current_user(request):
            return redirect("dashboard:teams")
    return redirect("dashboard:team", team_id=team.pk)


@page("POST", of=team_of)
def leave(request: HttpRequest, team: Team, actions: Actions) -> HttpResponse:
    """Leave the team."""
    with Refusals(request):
        teams.leave_team(team, current_user(request))
        messages.success(request, _("You have left the team “%(name)s”.") % {"name": team.name})
        return redirect("dashboard:teams")
    return redirect("dashboard:team", team_id=team.pk)


@page("POST", of=team_of, action=Action.INVITE, limit="invitation")
def send(request: HttpRequest, team: Team, actions: Actions) -> HttpResponse:
    """Invite by mail."""
    form = InvitationForm(actions, request.POST)
    if form.is_valid():
        with Refusals(request, form):
            made = invite(team, form.cleaned_data["email"], form.cleaned_data["role"], by=current_user(request))
            return mail(request, team, made)
    return show(request, team_page(team, actions, current_user(request)), invite_form=form)


@page("POST", of=team_of, action=Action.INVITE, limit="invitation")
def resend(request: HttpRequest, team: Team, actions: Actions, invitation_id: int) -> HttpResponse:
    """Send the invitation again with a new link; the old link ends."""
    with Refusals(request):
        return mail(request, team, invitations.resend(team, invitation_id, by=current_user(request)))
    return redirect("dashboard:team", team_id=team.pk)


@page("POST", of=team_of, action=Action.INVITE)
def revoke(request: HttpRequest, team: Team, actions: Actions, invitation_id: int) -> HttpResponse:
    """Withdraw the invitation, unless it was accepted meanwhile."""
    with Refusals(request):
        if invitations.revoke(team, invitation_id, by=current_user(request)):
            messages.success(request, _("The invitation is withdrawn. Its link leads nowhere any more."))
        else:
            messages.error(request, _("This invitation was accepted or withdrawn already."))
    return redirect("dashboard:team", team_id=team.pk)


def mail(request: HttpRequest, team: Team, made: Invited) -> HttpResponse:
    """Send the stored invitation. Where no mail can be sent, the page shows its link once."""
    path = reverse("dashboard:invitation", args=[made.token])
    link = request.build_absolute_uri(path)
    address = made.invitation.email
    if send_invitation(made.invitation, link, sender=current_user(request)):
        messages.success(request, _("The invitation is on its way to %(email)s.") % {"email": address})
        return redirect("dashboard:team", team_id=team.pk)
    _same, actions = team_of(current_user(request), team.pk)
    return show(request, team_page(team, actions, current_user(request)), unsent={"email": address, "link": link})
