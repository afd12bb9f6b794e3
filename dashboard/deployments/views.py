"""The page of a deployment and its live fragment."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.permissions import Action, Actions
from analysis.acknowledging import CannotAcknowledge
from analysis.acknowledging import acknowledge as keep_acknowledgement
from analysis.models import Via, What
from analysis.services import VerdictRevised, give_feedback
from dashboard.deployments.detail import page_context
from dashboard.deployments.forms import AcknowledgeForm, FeedbackForm
from dashboard.deployments.queries import Detail, deployment_detail, neighbours_of
from dashboard.page import current_user, page
from deployments.models import Deployment


@page()
def deployment(request: HttpRequest, uuid: UUID, *, live: bool = False) -> HttpResponse:
    """Show a deployment: verdict, hints, charts, checks, timeline. live: only what updates until the final verdict."""
    detail = deployment_detail(current_user(request), uuid)
    if live:
        return render(request, "dashboard/deployments/_deployment.html", page_context(request, detail))
    return _page(request, detail)


def _page(
    request: HttpRequest, detail: Detail, form: FeedbackForm | None = None, *, said: AcknowledgeForm | None = None
) -> HttpResponse:
    """Render the page. form: a refused mark; said: a refused acknowledgement."""
    context = {**page_context(request, detail, form), "neighbours": neighbours_of(detail.deployment)}
    if said is not None:
        context["acknowledge_form"] = said
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


@page("POST", of=detail_and_actions, action=Action.ACKNOWLEDGE)
def acknowledge(request: HttpRequest, detail: Detail, actions: Actions) -> HttpResponse:
    """Keep what the user says about the deployment."""
    user, uuid = current_user(request), detail.deployment.uuid
    form = AcknowledgeForm(request.POST)
    if not form.is_valid():
        return _page(request, detail, said=form)
    what = form.cleaned_data["what"]
    try:
        said = keep_acknowledgement(
            detail.deployment,
            what,
            who=user.get_username(),
            via=Via.PAGE,
            by=user,
            reason=form.cleaned_data["reason"],
        )
    except CannotAcknowledge as error:
        form.refuse(error)
        return _page(request, detail, said=form)
    except Deployment.DoesNotExist:
        raise Http404("It was deleted meanwhile.") from None
    address = reverse("dashboard:deployment", args=[uuid])
    if said.marked:
        messages.success(request, _("Everybody can see it now, and the verdict is marked right."))
    elif what == What.IGNORED and detail.feedback is None:
        messages.success(request, _("Everybody can see it now. If the verdict was wrong, mark it: wrong ones count."))
        return redirect(f"{address}#feedback")
    else:
        messages.success(request, _("Everybody can see it now."))
    return redirect(f"{address}#acknowledgements")
