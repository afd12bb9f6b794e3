"""Entry point of the web server. An invalid setting prevents the start, as for every command."""

import os
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")


class Utf8Request(WSGIRequest):
    """A request read as UTF-8, whatever charset it names: browsers and clients send UTF-8.

    Django accepts any charset known to Python. Some are not for text (rot13) or produce lone surrogates
    (unicode_escape), and Django decodes the query with it before any middleware, where errors are not handled.
    """

    def __init__(self, environ: Any) -> None:
        if environ.get("wsgi.input_terminated") and "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            # Django takes a body without a length for empty. One byte more than allowed is refused as too large.
            body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            environ.update({"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))})
        super().__init__(environ)

    def _set_content_type_params(self, meta: Any) -> None:
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))


application = get_wsgi_application()
application.request_class = Utf8Request
# Load all views now: the first request would take a second.
get_resolver().url_patterns  # noqa: B018

errors = [issue for issue in run_checks(tags=["seqpulse"]) if issue.level >= ERROR]
if errors:
    raise ImproperlyConfigured("; ".join(f"{issue.msg} ({issue.id})" for issue in errors))
