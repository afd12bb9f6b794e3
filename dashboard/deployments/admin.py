"""Deployments in Django admin, with reruns of their analyses."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import User
from analysis.rerun import CannotRerun, preview_rerun, store_rerun
from dashboard.labels import REFUSALS
from deployments.admin import DeploymentAdmin
from deployments.models import Deployment

# One judgement takes about 20 ms; for many use `manage.py backtest`.
MOST_AT_ONCE = 50

admin.site.unregister(Deployment)


@admin.register(Deployment)
class JudgedDeploymentAdmin(DeploymentAdmin):
    """Deployments, read-only; their analyses can be rerun."""

    actions = ("run_analysis_again",)

    @admin.action(description=gettext_lazy("Run the analysis again and store what it says"), permissions=["operate"])
    def run_analysis_again(self, request: HttpRequest, queryset: QuerySet[Deployment]) -> None:
        rows = queryset.select_related("environment", "policy_version", "verdict__feedback", "project")
        chosen = list(rows.order_by("id")[: MOST_AT_ONCE + 1])
        if len(chosen) > MOST_AT_ONCE:
            message = _("Select at most %(n)d deployments at once.") % {"n": MOST_AT_ONCE}
            self.message_user(request, message, messages.WARNING)
            return
        by = request.user if isinstance(request.user, User) else None
        stored = 0
        for deployment in chosen:
            try:
                store_rerun(deployment.pk, token=preview_rerun(deployment).token, by=by)
            except CannotRerun as error:
                self.message_user(request, f"{deployment}: {REFUSALS[error.refusal]}", messages.WARNING)
            else:
                stored += 1
                self.log_change(request, deployment, "Ran the analysis again.")
        text = ngettext("%(n)d verdict is revised.", "%(n)d verdicts are revised.", stored)
        self.message_user(request, text % {"n": stored}, messages.SUCCESS if stored else messages.INFO)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Allow reruns with the permission to change verdicts; rows are never edited by hand."""
        return request.user.has_perm("analysis.change_deploymentverdict")
