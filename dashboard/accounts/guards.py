"""Views of django-allauth with a question of ours before them."""

from __future__ import annotations

from typing import cast

from allauth.account import views as allauth_views
from allauth.account.internal.flows.reauthentication import is_reauthentication_required
from allauth.account.models import EmailAddress
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from dashboard.auth import current_user, login_required
from security.limits import REAUTHENTICATE, limited


@limited(REAUTHENTICATE)
@login_required
def set_password(request: HttpRequest) -> HttpResponseBase:
    """A first password, which opens all that asks for a password: who has another proof gives that first.

    What was typed is not kept meanwhile: it would lie readable in the session.
    """
    if is_reauthentication_required(request, app="account"):
        return redirect(f"{reverse('account_reauthenticate')}?{urlencode({REDIRECT_FIELD_NAME: request.path})}")
    return cast("HttpResponseBase", allauth_views.password_set(request))


@limited(REAUTHENTICATE)
@login_required
def email(request: HttpRequest) -> HttpResponseBase:
    """The person's addresses. Only a proven one becomes the one that teams see: django-allauth lets any be it as long
    as none is proven, as with accounts that operators made."""
    if request.method == "POST" and "action_primary" in request.POST:
        unproven = EmailAddress.objects.filter(user=current_user(request), verified=False, primary=False)
        if request.POST.get("email", "").lower() in unproven.values_list("email", flat=True):
            messages.error(request, _("Prove first that this address is yours: open the link that we sent to it."))
            return redirect("account_email")
    return cast("HttpResponseBase", allauth_views.email(request))
