"""Personal settings, and redirects from former URLs of sign-in and sign-out."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe
from django.views.generic import RedirectView
from django.views.i18n import set_language as django_set_language

from accounts.models import User
from accounts.services import change_profile
from dashboard.accounts import sessions
from dashboard.accounts.forms import ProfileForm
from dashboard.forms import Refusals, changes
from dashboard.page import current_user, page

# For bookmarks and links in old mails; forms use django-allauth's URLs.
login: Any = require_safe(RedirectView.as_view(pattern_name="account_login", query_string=True))
logout: Any = require_safe(RedirectView.as_view(pattern_name="account_logout"))

# Sets a cookie, for users who are not signed in or have chosen no language.
set_language: Any = require_POST(django_set_language)


@page("GET", "POST")
def profile(request: HttpRequest) -> HttpResponse:
    """Edit name, language, theme and time zone."""
    user = User.objects.get(pk=current_user(request).pk)
    # The form writes even invalid input into its instance, so the page's frame uses another one.
    form = ProfileForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        with Refusals(request, form):
            change_profile(user, **changes(form))
            with translation.override(form.cleaned_data["language"] or translation.get_language()):
                messages.success(request, _("Saved."))
            return redirect("dashboard:settings")
    return render(request, "dashboard/accounts/settings.html", {"form": form, "now": timezone.now()})


@page()
def list_sessions(request: HttpRequest) -> HttpResponse:
    """List the user's sessions."""
    return render(
        request, "dashboard/accounts/sessions.html", {"sessions": sessions.signed_in(request, current_user(request))}
    )


@page("POST")
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    """End one session."""
    if not sessions.end(current_user(request), only=session_id, besides=request.session.session_key):
        raise Http404
    messages.success(request, _("Signed out there."))
    return redirect("dashboard:sessions")


@page("POST")
def end_sessions(request: HttpRequest) -> HttpResponse:
    """End all other sessions."""
    ended = sessions.end(current_user(request), besides=request.session.session_key)
    message = ngettext("Signed out in %(n)d other place.", "Signed out in %(n)d other places.", ended)
    messages.success(request, message % {"n": ended})
    return redirect("dashboard:sessions")
