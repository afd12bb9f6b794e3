"""The pages of projects."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from dashboard.person import person
from dashboard.projects.queries import project_page


@require_safe
@never_cache
@login_required
def project(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """A project: its environments and how often its verdicts were right."""
    return render(request, "dashboard/project.html", {"page": project_page(person(request), uuid)})
