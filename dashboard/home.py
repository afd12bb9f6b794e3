"""The start page and the icon."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

home: Any = RedirectView.as_view(pattern_name="dashboard:overview")


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon, for pages that name none (admin, API documentation)."""
    return redirect(static("seqpulse/icon.svg"))
