"""The decorator of pages: it declares in one line who may open a view, with which methods, and how often."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.permissions import Action, Actions, require
from dashboard.auth import current_user, login_required
from security.limits import Caller, Limit, limited

View = Callable[..., HttpResponseBase]
Loader = Callable[[User, Any], tuple[Any, Actions]]


def page(
    *methods: str,
    of: Loader | None = None,
    action: Action | None = None,
    post: Action | None = None,
    limit: str = "",
    login: bool = True,
) -> Callable[[View], View]:
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

    def decorate(view: View) -> View:
        @wraps(view)
        def permitted(request: HttpRequest, /, **values: Any) -> HttpResponseBase:
            if of is None:
                return view(request, **values)
            found, actions = of(current_user(request), values.pop(next(iter(values))))
            for required in (action, post if request.method == "POST" else None):
                if required is not None:
                    require(actions, required)
            return view(request, found, actions, **values)

        decorated: View = never_cache(login_required(permitted) if login else permitted)
        decorated = require_http_methods(accepted)(decorated)
        if not limit:
            return decorated
        counted = frozenset({"POST"} if forms else {"GET", "HEAD"})
        return limited(Limit(("dashboard", limit), Caller.USER, counted))(decorated)

    return decorate
