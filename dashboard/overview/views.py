"""The overview: how every project and environment stands."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


@require_safe
@never_cache
@login_required
def overview(request: HttpRequest) -> HttpResponse:
    """Projects and environments with their last verdicts."""
    return render(request, "dashboard/overview.html")
