"""Two ways for requests, chosen by path: calls by API keys pass a few middleware, everything else all of Django's."""

from collections.abc import Callable
from typing import Any

from csp.constants import HEADER
from csp.utils import build_policy
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware
from django.utils import timezone, translation
from django.utils.module_loading import import_string

from seqpulse.api import API_CALLS

GetResponse = Callable[[HttpRequest], HttpResponse]


class Stack(BaseHandler):
    """A handler with middleware of its own. They may have `process_exception`, and no other hooks."""

    def __init__(self, names: list[str]) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain: Any = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]
        for name in reversed(names):
            middleware = import_string(name)(self._middleware_chain)
            if hasattr(middleware, "process_exception"):
                self._exception_middleware.append(self.adapt_method_mode(False, middleware.process_exception))
            self._middleware_chain = convert_exception_to_response(middleware)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = self._middleware_chain(request)
        return response


class ApiStackMiddleware:
    """Outermost middleware: pass calls by API keys through API_MIDDLEWARE, others through the rest of MIDDLEWARE."""

    def __init__(self, get_response: GetResponse) -> None:
        self.pages = get_response
        self.api = Stack(settings.API_MIDDLEWARE)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return (self.api if request.path_info.startswith(API_CALLS) else self.pages)(request)


class ApiHeadersMiddleware(SecurityMiddleware):
    """Check the host, answer in English and UTC, and set the headers that pages get from several middleware."""

    def __init__(self, get_response: GetResponse) -> None:
        self.inner = get_response
        # A refused host gets the headers too.
        super().__init__(convert_exception_to_response(self.answer))
        policy = build_policy()
        self.headers = {"X-Frame-Options": settings.X_FRAME_OPTIONS, **({HEADER: policy} if policy else {})}

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Pass the request on. Raises DisallowedHost."""
        request.get_host()
        timezone.deactivate()
        translation.activate(settings.LANGUAGE_CODE)
        return self.inner(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        for name, value in self.headers.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Length", str(len(response.content)))
        return response
