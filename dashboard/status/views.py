"""The status page: whether SeqPulse itself works."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from dashboard.page import current_user, page
from dashboard.status.queries import status_page


@page()
def status(request: HttpRequest, *, live: bool = False) -> HttpResponse:
    """Show the state of SeqPulse. live: only the part that updates without a reload."""
    staff = current_user(request).is_staff
    template = "_status.html" if live else "status.html"
    return render(request, f"dashboard/status/{template}", {"page": status_page(for_staff=staff), "staff": staff})
