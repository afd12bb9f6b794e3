"""Hints of all projects."""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from dashboard.filtering import answer, list_context
from dashboard.hints.code_charts import SEVERITIES
from dashboard.hints.queries import HintFilters, counts_by_day, hints_page
from dashboard.page import current_user, page
from dashboard.scope import scope_of


@page()
def hints(request: HttpRequest) -> HttpResponse:
    """List the hints of the user's projects, filtered by the URL, with counts by code and day."""
    filters = HintFilters(request.GET, scope_of(current_user(request)))
    page = hints_page(filters, request.GET.get("cursor", ""))
    context = list_context(request, filters, page, reverse("dashboard:hints"))
    context |= {"charts": counts_by_day(filters), "severities": SEVERITIES}
    return answer(request, "dashboard/hints/hints.html", "dashboard/hints/_hint_list.html", context)
