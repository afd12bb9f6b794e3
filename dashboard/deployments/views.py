"""The page of a deployment and its live fragment."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.permissions import Action, Actions
from analysis.services import VerdictRevised, give_feedback
from dashboard.deployments.detail import page_context
from dashboard.deployments.forms import FeedbackForm
from dashboard.deployments.queries import Detail, deployment_detail, neighbours_of
from dashboard.page import current_user, page


@page()
def deployment(request: HttpRequest, uuid: UUID, *, live: bool = False) -> HttpResponse:
    """Show a deployment: verdict, hints, charts, checks, timeline. live: only what updates until the final verdict."""
    detail = deployment_detail(current_user(request), uuid)
    if live:
        return render(request, "dashboard/deployments/_deployment.html", page_context(detail))
    return _page(request, detail)


def _page(request: HttpRequest, detail: Detail, form: FeedbackForm | None = None) -> HttpResponse:
    """Render the page. form: a refused mark."""
    context = {**page_context(detail, form), "neighbours": neighbours_of(detail.deployment)}
    return render(request, "dashboard/deployments/deployment.html", context)


def detail_and_actions(user: User, uuid: UUID) -> tuple[Detail, Actions]:
    detail = deployment_detail(user, uuid)
    return detail, detail.actions


@page("POST", of=detail_and_actions, action=Action.MARK_VERDICT)
def feedback(request: HttpRequest, detail: Detail, actions: Actions) -> HttpResponse:
    """Mark the deployment's verdict right or wrong."""
    if detail.verdict is None:
        raise Http404("There is no verdict to mark.")
    uuid = detail.deployment.uuid
    form = FeedbackForm(detail.verdict, request.POST)
    if not form.is_valid():
        return _page(request, detail, form)
    try:
        give_feedback(detail.verdict, by=current_user(request), **form.values())
    except VerdictRevised:
        form.refuse_revised()
        return _page(request, deployment_detail(current_user(request), uuid), form)
    messages.success(request, _("Thank you. Your feedback is saved."))
    return redirect(f"{reverse('dashboard:deployment', args=[uuid])}#feedback")
