"""Views of the list of deployments: page, live part, downloads."""

from collections.abc import Generator, Iterator
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from dashboard.deployments.filters import USUAL, DeploymentFilters
from dashboard.deployments.list_export import as_csv, as_json, everything, file_name
from dashboard.deployments.listing import deployments_page
from dashboard.filtering import answer, list_context
from dashboard.keyset import Page
from dashboard.overview.queries import guide_of
from dashboard.page import current_user, page
from dashboard.scope import scope_of

# A slow download occupies a thread: limit them per process.
# One user, whose connection may be slow, leaves a place to the others.
SENT_AT_ONCE, SENT_TO_ONE = 3, 2
# The user of each.
_being_sent: dict[object, int] = {}
# Sortable headings: order of the first click.
HEADINGS = {
    "verdict": "-verdict",
    "project": "project",
    "confidence": "-confidence",
    "started": "-started",
    "duration": "-duration",
}


@page()
def deployments(request: HttpRequest, *, live: bool = False) -> HttpResponse:
    """List the deployments of the user's projects, filtered and ordered by the URL.

    live: only the part that updates during an observation.
    """
    filters = DeploymentFilters(request.GET, scope_of(current_user(request)))
    context = context_of(request, filters, deployments_page(filters, request.GET.get("cursor", "")))
    if live:
        return render(request, "dashboard/deployments/_deployments.html", context)
    whole, results = "dashboard/deployments/deployments.html", "dashboard/deployments/_deployment_list.html"
    return answer(request, whole, results, context)


@page(limit="download")
def download(request: HttpRequest, *, kind: str) -> HttpResponseBase:
    """Send the filtered list as a file. kind: csv, json."""
    filters = DeploymentFilters(request.GET, scope_of(current_user(request)))
    if not filters.is_valid():
        # The page shows the errors.
        return redirect(filters.address(reverse("dashboard:deployments")))
    chunks = everything(filters)
    lines, content_type = (
        (as_csv(chunks), "text/csv; charset=utf-8") if kind == "csv" else (as_json(chunks, filters), "application/json")
    )
    owner, sent_to = current_user(request).pk, list(_being_sent.values())
    if len(sent_to) >= SENT_AT_ONCE or sent_to.count(owner) >= SENT_TO_ONE:
        messages.warning(request, _("Several files are being sent right now. Try again in a minute."))
        return redirect(filters.address(reverse("dashboard:deployments")))
    disposition = {"Content-Disposition": f'attachment; filename="{file_name(kind)}"'}
    return StreamingHttpResponse(sending(lines, owner), content_type=content_type, headers=disposition)


def sending(lines: Iterator[str], owner: int) -> Generator[str]:
    """Yield the lines; counts as a running download until the last one is read or the answer is closed."""
    this = object()
    _being_sent[this] = owner
    try:
        yield from lines
    finally:
        _being_sent.pop(this, None)


def context_of(request: HttpRequest, filters: DeploymentFilters, page: Page) -> dict[str, Any]:
    """Return the context of the list's templates."""
    path = reverse("dashboard:deployments")
    context = list_context(request, filters, page, path)
    cursor = context["cursor"]
    nothing = not page.rows and not cursor and not filters.is_filtered
    return context | {
        "in_progress": any(row.in_progress for row in page.rows),
        "first": not cursor,
        "live_address": filters.address(reverse("dashboard:deployments-live"), cursor=cursor),
        "csv": filters.address(reverse("dashboard:deployments-csv")),
        "json": filters.address(reverse("dashboard:deployments-json")),
        "headings": {name: heading(filters, path, name) for name in HEADINGS},
        "guide": guide_of(current_user(request)) if nothing else None,
    }


def heading(filters: DeploymentFilters, path: str, name: str) -> dict[str, str]:
    """Return URL and aria-sort of a sortable heading; the URL reverses an active order."""
    now = filters.order
    first = HEADINGS[name]
    other = first.removeprefix("-") if first.startswith("-") else f"-{first}"
    wanted = other if now == first else first
    how = "" if now.removeprefix("-") != name else "descending" if now.startswith("-") else "ascending"
    address = filters.address(path, ["sort"], sort="" if wanted == USUAL else wanted)
    return {"name": name, "address": address, "sort": how}
