"""The page behind the link of an invitation."""

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from accounts.adapter import INVITATION
from accounts.invitations import InvitationOver, State, accept, find, standing_of, state_of
from accounts.models import Invitation, Membership
from accounts.permissions import allowed
from dashboard.labels import ROLES, name_of
from dashboard.page import current_user, page

GONE = 410


@page("GET", "POST", login=False)
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation; on POST, join the team. An unknown link is 404, an expired or used one says so."""
    try:
        found = find(token)
        if request.method != "POST" or state_of(found) != State.OPEN:
            return show(request, found)
        if not request.user.is_authenticated:
            return redirect_to_login(request.path)
        joined = accept(token, current_user(request))
    except Invitation.DoesNotExist:
        raise Http404 from None
    except InvitationOver:
        # Another request was faster.
        return show(request, find(token))
    if joined.kept:
        words = _("You were in the team already. Your role stays %(role)s.")
    else:
        words = _("Welcome to the team. Your role is %(role)s.")
    messages.success(request, words % {"role": joined.membership.get_role_display()})
    response = redirect("dashboard:team", team_id=joined.membership.team_id)
    INVITATION.delete(response)
    return response


def show(request: HttpRequest, found: Invitation) -> HttpResponse:
    state = standing_of(found)
    known = request.user.is_authenticated
    mine = Membership.objects.filter(team=found.team_id, user=current_user(request)).first() if known else None
    context = {
        "invitation": found,
        "sender": name_of(found.invited_by),
        "rights": ROLES.get(found.role, ""),
        "state": state,
        "mine": mine,
        "stays": mine is not None and not allowed(found.role) > allowed(mine.role),
        "other_address": known and current_user(request).email.casefold() != found.email.casefold(),
    }
    is_open = state == State.OPEN
    response = render(request, "dashboard/teams/invitation.html", context, status=200 if is_open else GONE)
    if is_open and not known:
        INVITATION.write(response, str(found.pk))
    return response
