"""The page of an environment: metrics over time, and deployments."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from accounts.permissions import Action, Actions
from common.validation import localized
from dashboard.environments.queries import environment_page, shortest_range
from dashboard.environments.series import RANGES, range_for, range_of, times_of
from dashboard.forms import FIELD as FORM_FIELD
from dashboard.page import current_user, page
from dashboard.policies.queries import environment_of
from deployments import shown
from deployments.services import DeploymentRunning, ProjectArchived, Trigger, UnknownEnvironment
from deployments.services import verify as start_verification
from projects.freezing import announced_in
from projects.models import Environment

# As the API reads them; the token becomes an idempotency key.
read_reason, read_token = shown.text(500), shown.text(200)


@page("POST", of=environment_of, action=Action.VERIFY)
def verify(request: HttpRequest, found: Environment, actions: Actions) -> HttpResponse:
    """Verify the service from now on; where a deployment is running, or was just begun here, show that."""
    reason = read_reason("reason", request.POST.get("reason", "")).value
    token = read_token(FORM_FIELD, request.POST.get(FORM_FIELD, "")).value
    facts = {"commit_message": reason, "author": current_user(request).get_username()}
    key = f"page-{token}" if token else None
    try:
        started = start_verification(found.project, Trigger(env=found.name, idempotency_key=key, facts=facts))
    except (DeploymentRunning, ProjectArchived) as error:
        messages.error(request, localized(error.fact))
        return redirect("dashboard:environment", environment_id=found.pk)
    except UnknownEnvironment:
        raise Http404 from None
    return redirect("dashboard:deployment", uuid=started.deployment.uuid)


@page(of=environment_of)
def environment(request: HttpRequest, found: Environment, actions: Actions, *, live: bool = False) -> HttpResponse:
    """Show the metrics over ?range=1h|6h|24h|7d|30d, by default the shortest with samples, with its deployments.

    ?since= and ?until= (seconds since 1970) show other times.

    live: only the part that updates without a reload while the last hour is shown.
    """
    given = request.GET.get("range")
    is_named = any(one.name == given for one in RANGES)
    between = times_of(request.GET.get("since"), request.GET.get("until"))
    if between is not None:
        local = timezone.localtime(between[0]), timezone.localtime(between[1])
        page = environment_page(found, range_for(between[1] - between[0]), between=local)
    else:
        page = environment_page(found, range_of(given) if is_named else shortest_range(found), fitted=not is_named)
    context: dict[str, Any] = {"page": page, "environment": found, "project": found.project, "ranges": RANGES}
    context |= {"actions": actions, "freezes": announced_in(found, found.project.team_id)}
    template = "_environment.html" if live else "environment.html"
    return render(request, f"dashboard/environments/{template}", context)
