"""URLs of personal settings, and former URLs of sign-in and sign-out."""

from __future__ import annotations

from dashboard.accounts import views
from dashboard.routes import route

urlpatterns = [
    *route("login/", views.login, "login"),
    *route("logout/", views.logout, "logout"),
    *route("dashboard/language/", views.set_language, "set-language"),
    *route("dashboard/settings/", views.profile, "settings"),
    *route("dashboard/settings/sessions/", views.list_sessions, "sessions"),
    *route("dashboard/settings/sessions/end/", views.end_sessions, "sessions-end"),
    *route("dashboard/settings/sessions/<int:session_id>/end/", views.end_session, "session-end"),
]
