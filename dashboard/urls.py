"""URLs of all pages, in the namespace "dashboard"."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import URLPattern, path
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

from dashboard.accounts import views as accounts
from dashboard.deployments import actions
from dashboard.deployments import list_views as deployment_list
from dashboard.deployments import views as deployments
from dashboard.environments import views as environments
from dashboard.events import views as events
from dashboard.hints import views as hints
from dashboard.history import views as history
from dashboard.notifications import consent, rollbacks
from dashboard.notifications import views as notifications
from dashboard.overview import views as overview
from dashboard.policies import views as policies
from dashboard.projects import environment_settings, secrets, settings
from dashboard.projects import views as projects
from dashboard.public import links
from dashboard.public import views as public
from dashboard.search import views as search
from dashboard.sources import views as sources
from dashboard.status import views as status
from dashboard.teams import freezes, joining
from dashboard.teams import views as teams

app_name = "dashboard"

DEPLOYMENT = "dashboard/deployments/<uuid:uuid>/"
PROJECT = "dashboard/projects/<uuid:uuid>/"
ENVIRONMENT = "dashboard/environments/<int:environment_id>/"
TEAM = "dashboard/teams/<int:team_id>/"
CHANNEL = "dashboard/channels/<uuid:uuid>/"
INVITATION = f"{TEAM}invitations/<int:invitation_id>/"
MEMBER = f"{TEAM}members/<int:membership_id>/"


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon, for pages that name none (admin, API documentation)."""
    return redirect(static("seqpulse/icon.svg"))


def route(address: str, view: Callable[..., HttpResponseBase], name: str, **values: Any) -> list[URLPattern]:
    """Return the pattern of a page, and the same without the trailing slash. values: further arguments of the view.

    APPEND_SLASH is off, because the API must not redirect.
    """
    return [path(address, view, values, name), path(address.rstrip("/"), view, values)]


urlpatterns = [
    path("", RedirectView.as_view(pattern_name="dashboard:overview"), name="home"),
    path("favicon.ico", favicon, name="favicon"),
    *route("login/", accounts.login, "login"),
    *route("logout/", accounts.logout, "logout"),
    *route("dashboard/language/", accounts.set_language, "set-language"),
    *route("dashboard/settings/", accounts.profile, "settings"),
    *route("dashboard/settings/sessions/", accounts.list_sessions, "sessions"),
    *route("dashboard/settings/sessions/end/", accounts.end_sessions, "sessions-end"),
    *route("dashboard/settings/sessions/<int:session_id>/end/", accounts.end_session, "session-end"),
    *route("dashboard/", overview.overview, "overview"),
    *route("dashboard/live/", overview.overview, "overview-live", live=True),
    *route("dashboard/steps/dismiss/", overview.dismiss, "steps-dismiss"),
    *route("dashboard/events/", events.teams, "events"),
    *route("dashboard/deployments/", deployment_list.deployments, "deployments"),
    *route("dashboard/deployments/live/", deployment_list.deployments, "deployments-live", live=True),
    *route("dashboard/deployments/csv/", deployment_list.download, "deployments-csv", kind="csv"),
    *route("dashboard/deployments/json/", deployment_list.download, "deployments-json", kind="json"),
    *route(DEPLOYMENT, deployments.deployment, "deployment"),
    *route(f"{DEPLOYMENT}live/", deployments.deployment, "deployment-live", live=True),
    *route(f"{DEPLOYMENT}events/", events.deployment, "deployment-events"),
    *route(f"{DEPLOYMENT}rollback/", rollbacks.approval, "rollback-approve"),
    *route(f"{DEPLOYMENT}feedback/", deployments.feedback, "feedback"),
    *route(f"{DEPLOYMENT}acknowledge/", deployments.acknowledge, "acknowledge"),
    *route(f"{DEPLOYMENT}compare/", actions.compare, "compare"),
    *route(f"{DEPLOYMENT}rerun/", actions.rerun, "rerun"),
    *route(f"{DEPLOYMENT}replay/", actions.replay, "replay"),
    path(f"{DEPLOYMENT}download.json", actions.download, name="deployment-download"),
    *route("dashboard/search/", search.search, "search"),
    *route("dashboard/hints/", hints.hints, "hints"),
    *route("dashboard/projects/", projects.projects, "projects"),
    *route("dashboard/projects/new/", projects.new, "project-new"),
    *route(PROJECT, projects.project, "project"),
    *route(f"{PROJECT}integration/", projects.integration, "integration"),
    *route(f"{PROJECT}settings/", settings.settings, "project-settings"),
    *route(f"{PROJECT}settings/plan/", settings.plan, "project-plan"),
    *route(f"{PROJECT}settings/archive/", settings.archive, "project-archive"),
    *route(f"{PROJECT}settings/unarchive/", settings.unarchive, "project-unarchive"),
    *route(f"{PROJECT}settings/delete/", settings.delete, "project-delete"),
    *route(f"{PROJECT}environments/", settings.add, "environment-new"),
    *route(f"{PROJECT}links/", links.links, "project-links"),
    *route(f"{PROJECT}links/<int:link_id>/revoke/", links.revoke, "link-revoke"),
    path("feeds/<str:token>.atom", public.feed, name="feed"),
    path("badges/<str:token>.svg", public.badge, name="badge"),
    *route("public/<str:token>/", public.project, "public-project"),
    *route(f"{PROJECT}keys/", secrets.keys, "project-keys"),
    *route(f"{PROJECT}keys/<int:key_id>/revoke/", secrets.revoke, "key-revoke"),
    *route(f"{ENVIRONMENT}settings/", environment_settings.settings, "environment-settings"),
    *route(f"{ENVIRONMENT}settings/probe/", environment_settings.probe, "environment-probe"),
    *route(f"{ENVIRONMENT}settings/endpoint/", environment_settings.endpoint, "environment-endpoint"),
    *route(f"{ENVIRONMENT}settings/units/", environment_settings.units, "environment-units"),
    *route(f"{ENVIRONMENT}settings/origins/", environment_settings.origins, "environment-origins"),
    *route(f"{ENVIRONMENT}settings/settle/", environment_settings.settle, "environment-settle"),
    *route(f"{ENVIRONMENT}settings/signing/", secrets.signing, "environment-signing"),
    *route(f"{ENVIRONMENT}settings/delete/", environment_settings.delete, "environment-delete"),
    *route(f"{ENVIRONMENT}sources/new/", sources.choose, "source-choose"),
    *route(f"{ENVIRONMENT}sources/new/<str:source_kind_name>/", sources.new, "source-new"),
    *route(f"{ENVIRONMENT}sources/<int:source_id>/", sources.source, "source"),
    *route(f"{ENVIRONMENT}sources/<int:source_id>/arrange/", sources.arrange, "source-arrange"),
    *route(f"{ENVIRONMENT}history/", history.history, "history"),
    *route(f"{ENVIRONMENT}history/live/", history.live, "history-live"),
    *route(f"{ENVIRONMENT}history/<int:past_id>/", history.past, "past-deployment"),
    *route(ENVIRONMENT, environments.environment, "environment"),
    *route(f"{ENVIRONMENT}live/", environments.environment, "environment-live", live=True),
    *route(f"{ENVIRONMENT}verify/", environments.verify, "environment-verify"),
    *route(f"{ENVIRONMENT}events/", events.environment, "environment-events"),
    *route(f"{ENVIRONMENT}rollback/", rollbacks.settings, "environment-rollback"),
    *route(f"{ENVIRONMENT}rollback/test/", rollbacks.test, "environment-rollback-test"),
    *route(f"{ENVIRONMENT}policy/", policies.policy, "policy"),
    *route(f"{ENVIRONMENT}windows/", policies.exclude, "exclude-window"),
    *route(f"{ENVIRONMENT}windows/<int:window_id>/remove/", policies.include, "include-window"),
    *route("dashboard/teams/", teams.teams, "teams"),
    *route(TEAM, teams.team, "team"),
    *route(f"{TEAM}channels/", notifications.channels, "channels"),
    *route(f"{TEAM}channels/new/<str:kind>/", notifications.new, "channel-new"),
    *route(CHANNEL, notifications.channel, "channel"),
    *route(f"{CHANNEL}test/", notifications.test, "channel-test"),
    *route(f"{CHANNEL}disable/", notifications.disable, "channel-disable"),
    *route(f"{CHANNEL}enable/", notifications.enable, "channel-enable"),
    *route(f"{CHANNEL}delete/", notifications.delete, "channel-delete"),
    *route(f"{CHANNEL}deliveries/<int:delivery_id>/again/", notifications.send_again, "delivery-again"),
    *route("mail/<str:token>/", consent.mail, "mail"),
    *route(f"{TEAM}freezes/", freezes.freezes, "freezes"),
    *route(f"{TEAM}freezes/<int:freeze_id>/lift/", freezes.lift, "freeze-lift"),
    *route(f"{TEAM}rename/", teams.rename, "team-rename"),
    *route(f"{TEAM}delete/", teams.delete, "team-delete"),
    *route(f"{TEAM}leave/", teams.leave, "team-leave"),
    *route(f"{MEMBER}role/", teams.change, "team-member-role"),
    *route(f"{MEMBER}remove/", teams.remove, "team-member-remove"),
    *route(f"{TEAM}invitations/", teams.send, "team-invite"),
    *route(f"{INVITATION}resend/", teams.resend, "team-invitation-resend"),
    *route(f"{INVITATION}revoke/", teams.revoke, "team-invitation-revoke"),
    *route("dashboard/invitations/<str:token>/", joining.invitation, "invitation"),
    *route("dashboard/status/", status.status, "status"),
    *route("dashboard/status/operation/", status.operation, "operation"),
    *route("dashboard/status/live/", status.status, "status-live", live=True),
    *route("dashboard/status/events/", events.status, "status-events"),
]
