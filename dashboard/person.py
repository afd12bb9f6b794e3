"""Who looks at a page."""

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


def person(request: HttpRequest) -> User:
    """Who signed in; every view that calls this asks for that first."""
    user: Any = request.user
    return user  # type: ignore[no-any-return]


def login_required(view: View[P]) -> View[P]:
    """The view, for who is signed in; others sign in first, and come back.

    Who sent a form comes back to its page: many forms' own addresses show nothing, and what was sent is gone.
    """

    @wraps(view)
    def asked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if request.method != "POST":
            return redirect_to_login(request.get_full_path())
        messages.warning(request, _("You were signed out, so nothing was saved. Sign in and send it again."))
        return redirect_to_login(page_of_form(request))

    return asked


def page_of_form(request: HttpRequest) -> str:
    """The path of the page that the form stood on, as the browser tells; the overview where it does not."""
    told = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(told, {request.get_host()}, require_https=request.is_secure()):
        return reverse("dashboard:overview")
    parts = urlsplit(told)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
