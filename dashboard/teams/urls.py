"""Addresses of teams and invitations."""

from __future__ import annotations

from dashboard.routes import route
from dashboard.teams import joining, members, views

TEAM = "dashboard/teams/<int:team_id>/"
INVITATION = f"{TEAM}invitations/<int:invitation_id>/"
MEMBER = f"{TEAM}members/<int:membership_id>/"

urlpatterns = [
    *route("dashboard/teams/", views.teams, "teams"),
    *route(TEAM, views.team, "team"),
    *route(f"{TEAM}rename/", views.rename, "team-rename"),
    *route(f"{TEAM}delete/", views.delete, "team-delete"),
    *route(f"{TEAM}leave/", members.leave, "team-leave"),
    *route(f"{MEMBER}role/", members.change, "team-member-role"),
    *route(f"{MEMBER}remove/", members.remove, "team-member-remove"),
    *route(f"{TEAM}invitations/", members.send, "team-invite"),
    *route(f"{INVITATION}resend/", members.resend, "team-invitation-resend"),
    *route(f"{INVITATION}revoke/", members.revoke, "team-invitation-revoke"),
    *route("dashboard/invitations/<str:token>/", joining.invitation, "invitation"),
]
