"""Hints of all projects."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from dashboard.filtering import answer
from dashboard.hints.code_charts import SEVERITIES
from dashboard.hints.filters import HintFilters
from dashboard.hints.queries import COUNTED, counts_by_day, hints_page
from dashboard.page import current_user, page
from dashboard.scope import scope_of


@page()
def hints(request: HttpRequest) -> HttpResponse:
    """List the hints of the user's projects, filtered by the URL, with counts by code and day."""
    filters = HintFilters(request.GET, scope_of(current_user(request)))
    cursor = request.GET.get("cursor", "")
    page = hints_page(filters, cursor)
    path = reverse("dashboard:hints")
    context: dict[str, Any] = {
        "filters": filters,
        "page": page,
        "charts": counts_by_day(filters),
        "path": path,
        "cursor": cursor,
        "chips": filters.chips(path),
        "address": filters.address(path, **({"cursor": cursor} if cursor else {})),
        "newer": filters.address(path, cursor=page.newer) if page.newer else "",
        "older": filters.address(path, cursor=page.older) if page.older else "",
        "newest": filters.address(path),
        "unfiltered": path,
        "counted": COUNTED,
        "severities": SEVERITIES,
    }
    return answer(request, "dashboard/hints/hints.html", "dashboard/hints/_hint_list.html", context)
