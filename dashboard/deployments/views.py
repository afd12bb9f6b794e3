"""The list of deployments and the page of one, each with its fragment for what changes without a reload."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from analysis.services import VerdictRevised, give_feedback
from dashboard.deployments.detail import page_context
from dashboard.deployments.forms import FeedbackForm
from dashboard.deployments.queries import Detail, deployment_detail, deployments_page, neighbours_of
from dashboard.overview.queries import guide_of
from dashboard.person import person
from projects.permissions import Action, require

# More digits than this are no id of ours.
LONGEST_ID = 18


def cursor(value: str | None) -> int | None:
    """The id in a paging parameter; None (the first page) where it is none."""
    usable = value is not None and value.isascii() and value.isdigit() and len(value) <= LONGEST_ID
    return int(value) if usable and value else None


@require_safe
@never_cache
@login_required
def deployments(request: HttpRequest) -> HttpResponse:
    """The deployments of the person's projects, newest first."""
    return _deployments(request, "dashboard/deployments.html")


@require_safe
@never_cache
@login_required
def deployments_live(request: HttpRequest) -> HttpResponse:
    """The part of the list that changes while something is under observation."""
    return _deployments(request, "includes/_deployments.html")


def _deployments(request: HttpRequest, template: str) -> HttpResponse:
    before = cursor(request.GET.get("before"))
    page = deployments_page(person(request), before=before)
    context: dict[str, Any] = {"page": page, "before": before}
    if not page.rows and before is None:
        context["guide"] = guide_of(person(request))
    return render(request, template, context)


@require_safe
@never_cache
@login_required
def deployment(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """One deployment: verdict, hints, charts, checks, timeline."""
    return _page(request, deployment_detail(person(request), uuid))


@require_safe
@never_cache
@login_required
def deployment_live(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """The part of a deployment's page that changes until the verdict stands."""
    return render(request, "includes/_deployment.html", page_context(deployment_detail(person(request), uuid)))


def _page(request: HttpRequest, detail: Detail, form: FeedbackForm | None = None) -> HttpResponse:
    """form: a mark that was refused."""
    context = {**page_context(detail, form), "neighbours": neighbours_of(detail.deployment)}
    return render(request, "dashboard/deployment.html", context)


@require_POST
@never_cache
@login_required
def feedback(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Marks the deployment's verdict right or wrong."""
    detail = deployment_detail(person(request), uuid)
    if detail.verdict is None:
        raise Http404("There is no verdict to mark.")
    require(detail.actions, Action.MARK_VERDICT)
    form = FeedbackForm(detail.verdict, request.POST)
    if not form.is_valid():
        return _page(request, detail, form)
    try:
        give_feedback(detail.verdict, by=person(request), **form.values())
    except VerdictRevised:
        form.refuse_revised()
        return _page(request, deployment_detail(person(request), uuid), form)
    messages.success(request, _("Thank you. Your mark is stored."))
    return redirect(f"{reverse('dashboard:deployment', args=[uuid])}#feedback")
