"""Add fields to the log line of each request."""

import time
from typing import Any

from django.dispatch import receiver
from django.http import HttpRequest
from django_structlog.signals import bind_extra_request_finished_metadata

from seqpulse.observability.http_metrics import BEGAN, view_of


@receiver(bind_extra_request_finished_metadata)
def add_duration(sender: Any, request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    """Add the duration of the request, and its view."""
    log_kwargs["view"] = view_of(request)
    if BEGAN in request.META:
        log_kwargs["duration_ms"] = round((time.perf_counter() - request.META[BEGAN]) * 1000, 1)
