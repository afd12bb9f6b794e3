"""The status page: whether SeqPulse itself works."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from dashboard.auth import current_user
from dashboard.page import page
from dashboard.status.queries import status_page


@page()
def status(request: HttpRequest) -> HttpResponse:
    return show(request, "dashboard/status/status.html")


@page()
def status_live(request: HttpRequest) -> HttpResponse:
    """Show the live part of the page."""
    return show(request, "dashboard/status/_status.html")


def show(request: HttpRequest, template: str) -> HttpResponse:
    staff = current_user(request).is_staff
    return render(request, template, {"page": status_page(for_staff=staff), "staff": staff})
