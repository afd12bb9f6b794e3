"""Search: a page, and the results alone for the dialog that every page has."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from dashboard.page import current_user, page
from dashboard.search.finding import found_for

LONGEST = 200


@page()
def search(request: HttpRequest) -> HttpResponse:
    """Show what ?q= finds; to htmx, only the results."""
    text = request.GET.get("q", "").strip().replace("\0", "")[:LONGEST]
    context = {"q": text, "groups": found_for(current_user(request), text)}
    template = "_found.html" if getattr(request, "htmx", None) else "search.html"
    response = render(request, f"dashboard/search/{template}", context)
    patch_vary_headers(response, ["HX-Request"])
    return response
