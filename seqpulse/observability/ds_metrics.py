"""GET /ds-metrics: SeqPulse's own metrics in the format of a metrics endpoint (docs/protocol.md)."""

from datetime import UTC, datetime

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from metrics.signing import NONCE_TTL_S, SignatureRefused, verified_nonce
from security.limits import Caller, Limit, limited
from security.nonces import take_nonce
from seqpulse.api import error_response
from seqpulse.observability.machine import processor_meter, read_memory
from seqpulse.observability.own_requests import recorder, served

logger = structlog.get_logger(__name__)


@limited(Limit(("ds-metrics",), Caller.ADDRESS))
@method_decorator(never_cache, name="dispatch")
class DsMetricsView(View):
    """Metrics of the last 60 s: requests over all web processes; CPU and memory of this machine."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        try:
            check_signature(request)
        except SignatureRefused as refused:
            logger.warning("ds_metrics_refused", reason=str(refused))
            return error_response(401, "signature_refused", str(refused))
        recorder.flush()
        requests = served()
        return JsonResponse(
            {
                "metrics": {
                    "requests_per_sec": round(requests.requests_per_sec, 4),
                    "latency_p95": round(requests.latency_p95, 3),
                    "error_rate": round(requests.error_rate, 6),
                    "cpu_usage": round(processor_meter().usage(), 4),
                    "memory_usage": round(read_memory(), 4),
                }
            }
        )


def check_signature(request: HttpRequest) -> None:
    """Check the signature and take its nonce.

    Raises: SignatureRefused, also for a nonce that any process has accepted before.
    """
    secret = settings.SEQPULSE_DS_METRICS_SECRET
    if not secret:
        return
    nonce = verified_nonce(
        secret, method=request.method or "", path=request.path, headers=request.headers, now=datetime.now(UTC)
    )
    # Last, so that only signed requests fill the table.
    if not take_nonce(nonce, NONCE_TTL_S):
        raise SignatureRefused("signature_reused")
