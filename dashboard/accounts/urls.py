"""The addresses of personal settings, and where signing in and out once was."""

from __future__ import annotations

from dashboard.accounts import views
from dashboard.routes import page

urlpatterns = [
    *page("login/", views.login, "login"),
    *page("logout/", views.logout, "logout"),
]
