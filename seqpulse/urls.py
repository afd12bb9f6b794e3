"""URLs of the API, monitoring, accounts, admin and pages."""

from collections.abc import Callable, Iterable
from typing import Any

import allauth.urls
from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, include, path, re_path, reverse_lazy
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from analysis.api import AcknowledgementsView, DeploymentDetailView, DeploymentListView, HintListView, VerdictView
from analysis.gate import ConfirmPromotionView, ConfirmRolloutView, GateView, RollbackView
from analysis.steps_api import StepView
from dashboard.accounts import views as accounts
from deployments.api import FinishView, TriggerView, VerificationView
from metrics.alert_api import AlertsView
from metrics.api import DeploymentMetricsView
from metrics.otlp_api import OtlpMetricsView
from metrics.push_api import SamplesView
from metrics.source_api import AlertAddressView, SourcesTestView, SourcesView
from notifications.api import DeploymentRollbackView
from notifications.slack_actions import SlackActionsView
from security.limits import REAUTHENTICATE, SIGN_IN, limited
from seqpulse.client_download import ClientView
from seqpulse.observability.ds_metrics import DsMetricsView
from seqpulse.observability.exposition import MetricsView
from seqpulse.observability.health import DatabaseView, HealthView, LiveView, SchedulerHealthView


def imported_late(path: str) -> Callable[..., HttpResponseBase]:
    """Return a view that is imported by the first request for it."""

    @csrf_exempt
    def view(request: HttpRequest) -> HttpResponseBase:
        found: HttpResponseBase = import_string(path)(request)
        return found

    return view


admin.site.site_header = "SeqPulse"
admin.site.site_title = "SeqPulse"
admin.site.index_title = _("Administration")
# Django links to the path of SCRIPT_NAME, without its slash.
admin.site.site_url = reverse_lazy("dashboard:overview")  # type: ignore[assignment]  # lazy: URLs load here

UUID = r"(?P<uuid>[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12})"

# Without a trailing slash; one is accepted (docs/protocol.md).
api: list[URLPattern | URLResolver] = [
    re_path(r"^deployments/trigger/?$", TriggerView.as_view(), name="trigger"),
    re_path(r"^deployments/finish/?$", FinishView.as_view(), name="finish"),
    re_path(r"^deployments/?$", DeploymentListView.as_view(), name="deployment-list"),
    re_path(rf"^deployments/{UUID}/?$", DeploymentDetailView.as_view(), name="deployment-detail"),
    re_path(rf"^deployments/{UUID}/verdict/?$", VerdictView.as_view(), name="deployment-verdict"),
    re_path(rf"^deployments/{UUID}/step/?$", StepView.as_view(), name="deployment-step"),
    re_path(rf"^deployments/{UUID}/rollback/?$", DeploymentRollbackView.as_view(), name="deployment-rollback"),
    re_path(
        rf"^deployments/{UUID}/acknowledgements/?$", AcknowledgementsView.as_view(), name="deployment-acknowledgements"
    ),
    re_path(rf"^deployments/{UUID}/metrics/?$", DeploymentMetricsView.as_view(), name="deployment-metrics"),
    re_path(r"^environments/(?P<name>[^/]{1,100})/sources/?$", SourcesView.as_view(), name="sources"),
    re_path(r"^environments/(?P<name>[^/]{1,100})/alert-address/?$", AlertAddressView.as_view(), name="alert-address"),
    re_path(r"^environments/(?P<name>[^/]{1,100})/sources/test/?$", SourcesTestView.as_view(), name="sources-test"),
    re_path(r"^gate/?$", GateView.as_view(), name="gate"),
    re_path(r"^gate/flagger/confirm-rollout/?$", ConfirmRolloutView.as_view(), name="gate-confirm-rollout"),
    re_path(r"^gate/flagger/confirm-promotion/?$", ConfirmPromotionView.as_view(), name="gate-confirm-promotion"),
    re_path(r"^gate/flagger/rollback/?$", RollbackView.as_view(), name="gate-rollback"),
    re_path(r"^v1/metrics/?$", OtlpMetricsView.as_view(), name="otlp-metrics"),
    re_path(r"^verifications/?$", VerificationView.as_view(), name="verifications"),
    re_path(r"^samples/?$", SamplesView.as_view(), name="samples"),
    re_path(r"^sdh/?$", HintListView.as_view(), name="sdh"),
    re_path(r"^api/schema/?$", imported_late("seqpulse.openapi.schema"), name="schema"),
    re_path(r"^api/docs/?$", imported_late("seqpulse.openapi.docs"), name="docs"),
]

# Only our login asks for the second factor: admin's own form is never shown nor read, for signed-in staff neither.
admin.site.login = limited(SIGN_IN)(  # type: ignore[method-assign]
    secure_admin_login(RedirectView.as_view(pattern_name="admin:index"))
)

# django-allauth's views that take a password or a code, or send a mail.
ALLAUTH_LIMITS = {
    "account_confirm_email": SIGN_IN,
    "account_confirm_login_code": SIGN_IN,
    "account_email_verification_sent": SIGN_IN,
    "account_login": SIGN_IN,
    "account_reset_password": SIGN_IN,
    "account_reset_password_done": SIGN_IN,
    "account_reset_password_from_key": SIGN_IN,
    "account_reset_password_from_key_done": SIGN_IN,
    "account_signup": SIGN_IN,
    "mfa_authenticate": SIGN_IN,
    "socialaccount_signup": SIGN_IN,
    "account_change_password": REAUTHENTICATE,
    "account_reauthenticate": REAUTHENTICATE,
    "mfa_activate_totp": REAUTHENTICATE,
    "mfa_deactivate_totp": REAUTHENTICATE,
    "mfa_reauthenticate": REAUTHENTICATE,
    "mfa_reauthenticate_webauthn": REAUTHENTICATE,
}


def limit_by_name(patterns: Iterable[Any]) -> None:
    """Attach ALLAUTH_LIMITS to the views of these URLs."""
    for entry in patterns:
        if isinstance(entry, URLResolver):
            limit_by_name(entry.url_patterns)
        elif entry.name in ALLAUTH_LIMITS:
            limited(ALLAUTH_LIMITS[entry.name])(entry.callback)


limit_by_name(allauth.urls.urlpatterns)

urlpatterns = [
    *api,
    re_path(r"^cli/seqpulse\.py$", csrf_exempt(ClientView.as_view()), name="client"),
    # Exempt: other methods than GET are refused with 405, not for want of a token.
    re_path(r"^ds-metrics/?$", csrf_exempt(DsMetricsView.as_view()), name="ds-metrics"),
    re_path(r"^health/?$", csrf_exempt(HealthView.as_view()), name="health"),
    re_path(r"^health/scheduler/?$", csrf_exempt(SchedulerHealthView.as_view()), name="health-scheduler"),
    re_path(r"^health/live/?$", csrf_exempt(LiveView.as_view()), name="health-live"),
    re_path(r"^db-check/?$", csrf_exempt(DatabaseView.as_view()), name="db-check"),
    re_path(r"^metrics/?$", csrf_exempt(MetricsView.as_view()), name="metrics"),
    path("alerts/<str:token>", csrf_exempt(AlertsView.as_view()), name="alerts"),
    path("integrations/slack/<uuid:uuid>/actions", csrf_exempt(SlackActionsView.as_view()), name="slack-actions"),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/", admin.site.urls),
    path("accounts/sessions/", RedirectView.as_view(pattern_name="dashboard:sessions"), name="usersessions_list"),
    path("accounts/password/set/", accounts.set_password, name="account_set_password"),
    path("accounts/email/", accounts.email, name="account_email"),
    path("accounts/2fa/webauthn/login/", accounts.PasskeyLogin.as_view(), name="mfa_login_webauthn"),
    path("accounts/", include("allauth.urls")),
    path("", include("dashboard.urls")),
]

handler400 = "seqpulse.errors.bad_request"
handler403 = "seqpulse.errors.permission_denied"
handler404 = "seqpulse.errors.page_not_found"
handler500 = "seqpulse.errors.server_error"
