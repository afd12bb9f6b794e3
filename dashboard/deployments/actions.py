"""Actions on a deployment besides marking it: compare, rerun its analysis, replay, download."""

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from accounts.permissions import Action, Actions
from analysis.rerun import CannotRerun, Refusal, judge_as, preview_rerun, store_rerun
from dashboard import labels
from dashboard.deployments.compare import compared
from dashboard.deployments.export import document
from dashboard.deployments.forms import ReplayForm
from dashboard.deployments.queries import deployment_detail, deployment_of
from dashboard.deployments.verdict_diff import verdict_diff
from dashboard.page import current_user, page
from dashboard.policies.queries import readable
from deployments.models import Deployment
from projects.policy import policy_from_dict


@page()
def compare(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show the deployment beside another one of its environment (?with=), by default the previous one."""
    pair = compared(current_user(request), uuid, request.GET.get("with") or None)
    return render(request, "dashboard/deployments/compare.html", {"pair": pair, "deployment": pair.mine.deployment})


@page("GET", "POST", of=deployment_of, action=Action.RERUN_ANALYSIS, limit="judging")
def rerun(request: HttpRequest, deployment: Deployment, actions: Actions) -> HttpResponse:
    """Show the current result of the analysis beside the stored one; a POST with its token saves it."""
    if request.method != "POST":
        return show_rerun(request, deployment)
    try:
        store_rerun(deployment.pk, token=request.POST.get("token", ""), by=current_user(request))
    except CannotRerun as error:
        fresh, _actions = deployment_of(current_user(request), deployment.uuid)
        return show_rerun(request, fresh, refused=error.refusal)
    messages.success(request, _("The verdict is stored as the analysis says now. What it said before is kept."))
    return redirect("dashboard:deployment", uuid=deployment.uuid)


def show_rerun(request: HttpRequest, deployment: Deployment, *, refused: Refusal | None = None) -> HttpResponse:
    """Render the page. refused: why saving was refused; the status is then 409."""
    context: dict[str, Any] = {
        "deployment": deployment,
        "verdict": labels.verdict_of(deployment),
        "refused": labels.REFUSALS[refused] if refused else "",
    }
    try:
        found = preview_rerun(deployment)
    except CannotRerun as error:
        context["cannot"] = labels.REFUSALS[error.refusal]
        # Do not show the reason twice.
        context["refused"] = "" if error.refusal == refused else context["refused"]
    else:
        context |= {"rerun": found, "beside": verdict_diff(found.recorded, found.judgement.verdict)}
    return render(request, "dashboard/deployments/rerun.html", context, status=409 if refused else 200)


@page("GET", "POST", of=deployment_of, action=Action.REPLAY, limit="judging")
def replay(request: HttpRequest, deployment: Deployment, actions: Actions) -> HttpResponse:
    """Show a policy form, and the verdict that the policy would give. Writes nothing."""
    form = ReplayForm(policy_to_start_from(deployment), request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {"deployment": deployment, "form": form, "verdict": labels.verdict_of(deployment)}
    if form.is_bound and form.is_valid():
        try:
            judgement = judge_as(deployment, policy_from_dict(form.policy))
        except CannotRerun as error:
            context["cannot"] = labels.REFUSALS[error.refusal]
        else:
            context["beside"] = verdict_diff(labels.verdict_of(deployment), judgement.verdict)
    return render(request, "dashboard/deployments/replay.html", context)


def policy_to_start_from(deployment: Deployment) -> dict[str, Any]:
    """Return the policy of this deployment; the default if it is unreadable."""
    pinned = deployment.policy_version
    policy = pinned.policy if pinned is not None else deployment.environment.policy
    return policy if readable(policy) is not None else {}


@page()
def download(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Send everything stored about the deployment as a file."""
    detail = deployment_detail(current_user(request), uuid)
    body = json.dumps(document(detail), cls=DjangoJSONEncoder, indent=1)
    name = f"deployment-{detail.deployment.number}-{uuid}.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(body, content_type="application/json", headers=headers)
