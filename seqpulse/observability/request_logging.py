"""Log requests: pages by django-structlog, calls of the API by one line each, which says the same."""

import sys
import time
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware
from django_structlog.signals import bind_extra_request_finished_metadata
from structlog.contextvars import bind_contextvars, clear_contextvars

from common.database_state import state_of
from seqpulse.observability.http_metrics import BEGAN, view_of


class LogMiddleware(RequestMiddleware):
    """Log requests, and what they raised; where the database is the reason, seqpulse.errors has logged it in a line."""

    def process_got_request_exception(self, sender: type[Any], request: HttpRequest, **kwargs: Any) -> None:
        """Log the exception that is being handled."""
        if state_of(sys.exc_info()[1]) is None:
            super().process_got_request_exception(sender, request, **kwargs)

    def prepare(self, request: HttpRequest) -> None:
        if is_static(request):
            bind_contextvars(request_id=str(uuid4()))
        else:
            super().prepare(request)

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Log the request, but not static files that are served: each page has many."""
        if is_static(request) and response.status_code < 400:
            clear_contextvars()
        else:
            super().handle_response(request, response)


def is_static(request: HttpRequest) -> bool:
    return request.path.startswith(settings.STATIC_URL)


class ApiLogMiddleware(LogMiddleware):
    """Log a call when it is answered, and not also when it begins."""

    def prepare(self, request: HttpRequest) -> None:
        """Bind the id that all lines of the call carry."""
        bind_contextvars(request_id=str(uuid4()))


@receiver(bind_extra_request_finished_metadata)
def add_duration(sender: Any, request: HttpRequest, log_kwargs: dict[str, Any], **kwargs: Any) -> None:
    """Add the duration of the request, and its view; to the only line of a call of the API what its first would say."""
    log_kwargs["view"] = view_of(request)
    if BEGAN in request.META:
        log_kwargs["duration_ms"] = round((time.perf_counter() - request.META[BEGAN]) * 1000, 1)
    if sender is ApiLogMiddleware:
        log_kwargs["user_agent"] = request.META.get("HTTP_USER_AGENT")
