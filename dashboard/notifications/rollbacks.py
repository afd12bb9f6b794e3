"""Rollbacks: an environment's setting with its record, and the approval of one."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.permissions import Action, Actions
from analysis.models import Via
from common.validation import localized, validation_error
from dashboard.deployments.queries import Detail
from dashboard.deployments.views import detail_and_actions
from dashboard.notifications.forms import ConfigField
from dashboard.notifications.reporting import report_test
from dashboard.page import current_user, page
from dashboard.policies.queries import environment_of
from deployments.models import Deployment
from notifications.channels.base import Field
from notifications.channels.webhook import Webhook
from notifications.rollbacks.attempts import CannotRollBack, approve
from notifications.rollbacks.policies import RECORD_DAYS, NoReceiver, record_of, send_test, set_policy
from projects.models import Environment, RollbackMode, RollbackPolicy

URL = Field("url", gettext_lazy("URL of the webhook"), type="url", required=False)
SECRET = Field(
    "secret",
    gettext_lazy("Signing secret"),
    gettext_lazy("whsec_… (base64); made for you if left empty."),
    "secret",
    required=False,
)


class RollbackForm(forms.Form):
    """The step of the ladder, the webhook, and how long its rollback may take."""

    mode = forms.ChoiceField(
        label=gettext_lazy("Where a rollback is recommended"), choices=RollbackMode.choices, widget=forms.RadioSelect
    )
    minutes = forms.IntegerField(
        label=gettext_lazy("Minutes until the rollback has to be deployed"),
        min_value=1,
        max_value=1440,
        help_text=gettext_lazy(
            "Your pipeline calls trigger with the kind rollback. If it does not, the team is notified."
        ),
    )

    def __init__(self, policy: RollbackPolicy, data: Any = None) -> None:
        super().__init__(data, initial={"mode": policy.mode, "minutes": policy.verify_within_minutes})
        fields: dict[str, Any] = self.fields
        fields["url"] = ConfigField(URL, stored=bool(policy.url))
        fields["secret"] = ConfigField(SECRET, stored=bool(policy.secret))


def policy_of(environment: Environment) -> RollbackPolicy:
    """Return an environment's setting, also where none is stored."""
    return RollbackPolicy.objects.filter(environment=environment).first() or RollbackPolicy(environment=environment)


@page("GET", "POST", of=environment_of, post=Action.CHANGE_ENVIRONMENT)
def settings(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Show an environment's rollback setting and its record; on POST, change it."""
    if request.method != "POST":
        return show(request, environment, actions)
    form = RollbackForm(policy_of(environment), request.POST)
    if form.is_valid():
        given = form.cleaned_data
        try:
            secret = set_policy(environment, by=current_user(request), **given)
        except NoReceiver as error:
            form.add_error(error.field, validation_error(error))
            return show(request, environment, actions, form=form)
        messages.success(request, _("The rollback setting is saved."))
        if secret:
            # Not by a redirect, which would have to store it.
            return show(request, environment, actions, secret=secret)
        return redirect("dashboard:environment-rollback", environment_id=environment.pk)
    return show(request, environment, actions, form=form)


@page("POST", of=environment_of, action=Action.CHANGE_ENVIRONMENT, limit="probe")
def test(request: HttpRequest, environment: Environment, actions: Actions) -> HttpResponse:
    """Send a test, which can roll nothing back, and show the receiver's answer."""
    outcome = send_test(environment)
    report_test(request, outcome.sent, outcome.why)
    return redirect("dashboard:environment-rollback", environment_id=environment.pk)


def show(request: HttpRequest, environment: Environment, actions: Actions, **given: Any) -> HttpResponse:
    """Render the page. given: a submitted form; secret: a signing secret that is shown once."""
    policy = policy_of(environment)
    try:
        place = Webhook().place({"url": policy.url.open()}) if policy.url else ""
    except (ImproperlyConfigured, ValueError):
        place = ""
    context = {
        "environment": environment,
        "project": environment.project,
        "actions": actions,
        "policy": policy,
        "place": place,
        "record": record_of(environment),
        "days": RECORD_DAYS,
        "form": RollbackForm(policy),
    }
    return render(request, "dashboard/notifications/rollback.html", context | given)


@page("POST", of=detail_and_actions, action=Action.APPROVE_ROLLBACK)
def approval(request: HttpRequest, detail: Detail, actions: Actions) -> HttpResponse:
    """Approve the rollback of a deployment."""
    user = current_user(request)
    try:
        approved = approve(detail.deployment, who=user.get_username(), via=Via.PAGE, by=user)
    except CannotRollBack as error:
        messages.error(request, _("No rollback: %(why)s.") % {"why": localized(error.fact)})
    except Deployment.DoesNotExist:
        raise Http404("It was deleted meanwhile.") from None
    else:
        started, known = _("The rollback is being started."), _("The rollback was started before: nothing changed.")
        messages.success(request, started if approved.is_new else known)
    return redirect(f"{reverse('dashboard:deployment', args=[detail.deployment.uuid])}#rollback")
