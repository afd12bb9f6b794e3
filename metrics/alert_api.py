"""POST /alerts/{token}: webhooks of Alertmanager, Grafana and others (docs/sources.md)."""

from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse, UnreadablePostError
from django.urls import resolve
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from common.strict_json import InvalidJSON, read_json
from metrics.alerting import parse_alerts, source_of, store_alerts
from metrics.models import Source
from security.limits import ALERTS, limited

# Attribute of a request whose source was looked up.
FOUND = "alerting_source"
logger = structlog.get_logger(__name__)


def refused(status: int, code: str, message: str) -> JsonResponse:
    body = {"error": {"code": code, "message": message, "fields": {}}, "detail": message}
    return JsonResponse(body, status=status)


def alerting_source(request: HttpRequest) -> Source | None:
    """Return the source whose token the address has; looked up once, for the limit and for the view."""
    if not hasattr(request, FOUND):
        setattr(request, FOUND, source_of(resolve(request.path_info).kwargs["token"]))
    found: Source | None = getattr(request, FOUND)
    return found


@limited(ALERTS)
@method_decorator(never_cache, name="dispatch")
class AlertsView(View):
    """Somebody sends alerts, with the token of the source as its address."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, token: str) -> JsonResponse:
        source = alerting_source(request)
        if source is None:
            return refused(404, "not_found", "Nothing takes alerts at this address.")
        try:
            body: Any = request.body
        except RequestDataTooBig:
            body = None
        except UnreadablePostError:
            return refused(400, "bad_request", "The body did not arrive.")
        if body is None or len(body) > settings.SEQPULSE_API_BODY_MAX_BYTES:
            kib = settings.SEQPULSE_API_BODY_MAX_BYTES // 1024
            return refused(413, "too_large", f"The body is larger than {kib} KiB.")
        try:
            alerts = parse_alerts(read_json(body))
        except InvalidJSON as error:
            return refused(400, "parse_error", f"The body is not valid JSON: {error}")
        except ValueError as error:
            return refused(400, "invalid", str(error))
        stored = store_alerts(source, alerts)
        if stored.left_out:
            logger.warning("alerts_left_out", environment_id=source.environment_id, count=stored.left_out)
        return JsonResponse({"taken": stored.taken, "left_out": stored.left_out})
