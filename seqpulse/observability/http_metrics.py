"""Count the requests of this process. Workers write separate files (PROMETHEUS_MULTIPROC_DIR)."""

import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from prometheus_client import Counter, Histogram

# All other methods share one label value.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BEGAN = "seqpulse.began"
# The objective is 200 ms (p95). What a call waits because it asked to (common/holding.py) is not in it.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 30, 60, float("inf"))

REQUESTS = Counter("seqpulse_http_requests_total", "Requests answered.", ("method", "view", "status"))
DURATION = Histogram(
    "seqpulse_http_request_duration_seconds",
    "From the request's arrival in the worker to its answer.",
    ("method", "view"),
    buckets=BUCKETS,
)
REFUSED = Counter(
    "seqpulse_http_refused_total",
    "Clients refused before the application saw a request: too slow, too many at once, or not HTTP.",
    ("status",),
)

# Calls in the recorded p95 (ops/prometheus/rules). For Prometheus a series that first appears as 1 has not increased,
# so these start at 0 in every worker.
TIMED_CALLS = (
    ("POST", "trigger"),
    ("POST", "finish"),
    ("GET", "deployment-list"),
    ("GET", "deployment-detail"),
    ("GET", "deployment-metrics"),
    ("GET", "sdh"),
)


def view_of(request: HttpRequest) -> str:
    """Return the name of the URL pattern, not the URL, to limit the number of label values."""
    match = getattr(request, "resolver_match", None)
    if match is None:
        return "unmatched"
    name = match.view_name or "unnamed"
    return "admin" if name.startswith("admin:") else name


class HttpMetricsMiddleware:
    """First middleware of calls and of pages: sees every answer, also of other middleware, and every traceback."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        for method, view in TIMED_CALLS:
            DURATION.labels(method, view)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # The front has set it before the request waited for a thread.
        began = request.META.setdefault(BEGAN, time.perf_counter())
        # A request that ended in a traceback leaves its context in this thread.
        structlog.contextvars.clear_contextvars()
        # The server's answer to an uncaught exception.
        status = 500
        try:
            response = self.get_response(request)
            status = response.status_code
            return response
        finally:
            method = request.method if request.method in METHODS else "other"
            view = view_of(request)
            REQUESTS.labels(method, view, str(status)).inc()
            DURATION.labels(method, view).observe(time.perf_counter() - began)
