"""What every page starts with: the signed-in user, and who may open a view, with which methods, how often."""

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
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.permissions import Action, Actions, require
from security.limits import Caller, Limit, limited

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
Loader = Callable[[User, Any], tuple[Any, Actions]]


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


def page(
    *methods: str,
    of: Loader | None = None,
    action: Action | None = None,
    post: Action | None = None,
    limit: str = "",
    login: bool = True,
) -> Callable[[View[...]], View[...]]:
    """Declare the access rules of a view. Its answers are never cached.

    Args:
        methods: GET (which includes HEAD), POST; GET alone where none is named.
        of: loads what the page is about, and what the user may do with it, by the first value of the address. The view
            gets both in place of that value. Raises Http404 for what the user may not see.
        action: what the user must be allowed to do with it.
        post: the same, for POST only.
        limit: the group of SEQPULSE_RATES on which sending the form (without POST: opening the page) counts too.
        login: False for a page that is open to everyone.
    """
    forms = "POST" in methods
    accepted = [*(["GET", "HEAD"] if "GET" in methods or not methods else []), *(["POST"] if forms else [])]

    def decorate(view: View[...]) -> View[...]:
        @wraps(view)
        def permitted(request: HttpRequest, /, **values: Any) -> HttpResponseBase:
            if of is None:
                return view(request, **values)
            found, actions = of(current_user(request), values.pop(next(iter(values))))
            for required in (action, post if request.method == "POST" else None):
                if required is not None:
                    require(actions, required)
            return view(request, found, actions, **values)

        decorated: View[...] = never_cache(login_required(permitted) if login else permitted)
        decorated = require_http_methods(accepted)(decorated)
        if not limit:
            return decorated
        counted = frozenset({"POST"} if forms else {"GET", "HEAD"})
        return limited(Limit(("dashboard", limit), Caller.USER, counted))(decorated)

    return decorate
