"""The web server's entry point. A wrong setting refuses to serve, as it refuses every command."""

import os
from typing import Any

from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "seqpulse.settings")


class Utf8Request(WSGIRequest):
    """A request that is read as UTF-8, whatever it says of itself: that is what browsers and our clients send.

    Django believes any charset that Python knows. Some are none for text (rot13) or write halves of characters
    (unicode_escape); and to change it, it reads the query before any middleware, where nobody answers for what it
    cannot read.
    """

    def _set_content_type_params(self, meta: Any) -> None:
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))


application = get_wsgi_application()
application.request_class = Utf8Request

errors = [issue for issue in run_checks(tags=["seqpulse"]) if issue.level >= ERROR]
if errors:
    raise ImproperlyConfigured("; ".join(f"{issue.msg} ({issue.id})" for issue in errors))
