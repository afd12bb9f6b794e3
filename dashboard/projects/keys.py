"""A project's API keys: list, create, revoke."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.permissions import Action, Actions
from dashboard.forms import already_submitted
from dashboard.page import current_user, page
from dashboard.projects.forms import KeyForm
from dashboard.projects.secrets import Shown, shown_once
from dashboard.projects.settings_queries import keys_of, project_of
from projects.models import ApiKey, Project
from projects.services import issue_api_key


@page("GET", "POST", of=project_of, post=Action.MANAGE_KEYS, limit="making")
def keys(request: HttpRequest, project: Project, actions: Actions) -> HttpResponse:
    """List the project's keys; on POST, create one, which only this answer shows."""
    form: Any = KeyForm()
    if request.method == "POST":
        form = KeyForm(request.POST)
        if form.is_valid() and already_submitted(request):
            message = _(
                "This key was made already and shown once. If you have not stored it, revoke it and make another."
            )
            messages.warning(request, message)
            return redirect("dashboard:project-keys", uuid=project.uuid)
        if form.is_valid():
            secret = issue_api_key(project, form.cleaned_data["name"], by=current_user(request))
            return shown_once(
                request,
                title=_("A new API key"),
                project=project,
                shown=[Shown("api-key", form.cleaned_data["name"], secret, "SEQPULSE_API_KEY", _("for your pipeline"))],
                onward=(reverse("dashboard:project-keys", kwargs={"uuid": project.uuid}), _("I have stored it")),
            )
    context = {
        "project": project,
        "keys": keys_of(project),
        "form": form,
        "actions": actions,
    }
    return render(request, "dashboard/projects/keys.html", context)


@page("POST", of=project_of, action=Action.MANAGE_KEYS)
def revoke(request: HttpRequest, project: Project, actions: Actions, key_id: int) -> HttpResponse:
    """Revoke a key now. Idempotent."""
    key = get_object_or_404(ApiKey.objects.filter(project=project), pk=key_id)
    key.revoke()
    message = _("The key “%(name)s” is revoked: whoever still uses it is refused from now on.")
    messages.success(request, message % {"name": key.name})
    return redirect("dashboard:project-keys", uuid=project.uuid)
