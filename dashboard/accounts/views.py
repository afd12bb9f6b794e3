"""Personal settings, views of django-allauth with additional checks, and redirects from former URLs."""

import json
from typing import Any, cast

from allauth.account import views as allauth_views
from allauth.account.internal.flows.reauthentication import is_reauthentication_required
from allauth.account.models import EmailAddress
from allauth.mfa.webauthn.internal.auth import STATE_SESSION_KEY
from allauth.mfa.webauthn.views import LoginWebAuthnView
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
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
from dashboard.page import current_user, login_required, page
from security.cookies import SignedCookie
from security.counting import is_first_use
from security.limits import REAUTHENTICATE, SIGN_IN, limited

# For bookmarks and links in old mails; forms use django-allauth's URLs.
login: Any = require_safe(RedirectView.as_view(pattern_name="account_login", query_string=True))
logout: Any = require_safe(RedirectView.as_view(pattern_name="account_logout"))

# Sets a cookie, for users who are not signed in or have chosen no language.
set_language: Any = require_POST(django_set_language)


# The state of a passkey login, between the challenge and its answer.
CHALLENGE = SignedCookie("seqpulse_passkey", 600)


@method_decorator(limited(SIGN_IN), name="dispatch")
class PasskeyLogin(LoginWebAuthnView):
    """Sign in with a passkey. The browser keeps the challenge, since a session would be a row for each stranger's GET.

    A challenge is good for one answer, over all processes.
    """

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().get(request, *args, **kwargs)
        state = request.session.pop(STATE_SESSION_KEY, None)
        if state is not None:
            CHALLENGE.write(response, json.dumps(state))
        return response

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        state = CHALLENGE.read(request)
        if state and is_first_use(CHALLENGE.name, state, CHALLENGE.max_age_s):
            request.session[STATE_SESSION_KEY] = json.loads(state)
        response: HttpResponse = super().post(request, *args, **kwargs)
        request.session.pop(STATE_SESSION_KEY, None)
        CHALLENGE.delete(response)
        return response


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
    found = sessions.signed_in(request, current_user(request))
    context = {"sessions": found, "most": sessions.MOST_LISTED}
    return render(request, "dashboard/accounts/sessions.html", context)


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


@limited(REAUTHENTICATE)
@login_required
def set_password(request: HttpRequest) -> HttpResponseBase:
    """Set a first password, after the second factor if the account has one.

    The typed password is not kept meanwhile: it would be readable in the session.
    """
    if is_reauthentication_required(request, app="account"):
        return redirect(f"{reverse('account_reauthenticate')}?{urlencode({REDIRECT_FIELD_NAME: request.path})}")
    return cast("HttpResponseBase", allauth_views.password_set(request))


@limited(REAUTHENTICATE)
@login_required
def email(request: HttpRequest) -> HttpResponseBase:
    """Manage addresses. Only a verified one can become primary, which teams see.

    django-allauth allows any as long as none is verified, as for accounts created by staff.
    """
    if request.method == "POST" and "action_primary" in request.POST:
        unproven = EmailAddress.objects.filter(user=current_user(request), verified=False, primary=False)
        if request.POST.get("email", "").lower() in unproven.values_list("email", flat=True):
            messages.error(request, _("Prove first that this address is yours: open the link that we sent to it."))
            return redirect("account_email")
    return cast("HttpResponseBase", allauth_views.email(request))
