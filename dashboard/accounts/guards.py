"""Views of django-allauth with additional checks."""

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

from dashboard.page import current_user, login_required
from security.limits import REAUTHENTICATE, limited


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
