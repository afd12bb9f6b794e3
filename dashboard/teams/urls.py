"""Addresses of teams and invitations."""

from __future__ import annotations

from dashboard.routes import page
from dashboard.teams import joining, members, views

TEAM = "dashboard/teams/<int:team_id>/"
INVITATION = f"{TEAM}invitations/<int:invitation_id>/"
MEMBER = f"{TEAM}members/<int:membership_id>/"

urlpatterns = [
    *page("dashboard/teams/", views.teams, "teams"),
    *page(TEAM, views.team, "team"),
    *page(f"{TEAM}rename/", views.rename, "team-rename"),
    *page(f"{TEAM}delete/", views.delete, "team-delete"),
    *page(f"{TEAM}leave/", members.leave, "team-leave"),
    *page(f"{MEMBER}role/", members.change, "team-member-role"),
    *page(f"{MEMBER}remove/", members.remove, "team-member-remove"),
    *page(f"{TEAM}invitations/", members.send, "team-invite"),
    *page(f"{INVITATION}resend/", members.resend, "team-invitation-resend"),
    *page(f"{INVITATION}revoke/", members.revoke, "team-invitation-revoke"),
    *page("dashboard/invitations/<str:token>/", joining.invitation, "invitation"),
]
