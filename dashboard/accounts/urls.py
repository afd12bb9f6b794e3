"""The addresses of personal settings, and where signing in and out once was."""

from __future__ import annotations

from dashboard.accounts import views
from dashboard.routes import page

urlpatterns = [
    *page("login/", views.login, "login"),
    *page("logout/", views.logout, "logout"),
    *page("dashboard/language/", views.set_language, "set-language"),
    *page("dashboard/settings/", views.profile, "settings"),
    *page("dashboard/settings/sessions/", views.list_sessions, "sessions"),
    *page("dashboard/settings/sessions/end/", views.end_sessions, "sessions-end"),
    *page("dashboard/settings/sessions/<int:session_id>/end/", views.end_session, "session-end"),
]
