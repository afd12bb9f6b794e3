"""The signed-in user of a request, and views that require one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlsplit

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from accounts.models import User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def current_user(request: HttpRequest) -> User:
    """Return the signed-in user; only for views that require a login."""
    user: Any = request.user
    return user  # type: ignore[no-any-return]


def login_required(view: View[P]) -> View[P]:
    """Require a login before the view, and lead back to the page afterwards.

    After a POST the user comes back to the page of the form: a form's own address often answers POST only.
    """

    @wraps(view)
    def with_login(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if request.method != "POST":
            return redirect_to_login(request.get_full_path())
        messages.warning(request, _("You were signed out, so nothing was saved. Sign in and send it again."))
        return redirect_to_login(page_of_form(request))

    return with_login


def page_of_form(request: HttpRequest) -> str:
    """Return the path of the page that the form was on (Referer), or of the overview where it is unknown."""
    referrer = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(referrer, {request.get_host()}, require_https=request.is_secure()):
        return reverse("dashboard:overview")
    parts = urlsplit(referrer)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
