"""The status page: whether SeqPulse itself works."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from dashboard.page import current_user, page
from dashboard.status.operation import needs, room, versions
from dashboard.status.queries import status_page


@page()
def status(request: HttpRequest, *, live: bool = False) -> HttpResponse:
    """Show the state of SeqPulse. live: only the part that updates without a reload."""
    staff = current_user(request).is_staff
    template = "_status.html" if live else "status.html"
    return render(request, f"dashboard/status/{template}", {"page": status_page(for_staff=staff), "staff": staff})


@page()
def operation(request: HttpRequest) -> HttpResponse:
    """Show operators what is left to set, how much room there is, and which versions run."""
    if not current_user(request).is_superuser:
        raise PermissionDenied
    context = {"needs": list(needs()), "room": room(), "versions": versions()}
    return render(request, "dashboard/status/operation.html", context)
