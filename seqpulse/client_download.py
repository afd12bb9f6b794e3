"""GET /cli/seqpulse.py: the command line client, as it is in the repository.

It holds no values of this server, so that its hash is that of the file, whoever asks.
"""

import hashlib
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.http import condition

from security.limits import UNLIMITED, limited

PATH = settings.BASE_DIR / "clients" / "seqpulse.py"


@cache
def client() -> tuple[bytes, str]:
    """Return the client and its SHA-256 in hex, read once: an upgrade restarts the server."""
    content = PATH.read_bytes()
    return content, hashlib.sha256(content).hexdigest()


def etag(request: HttpRequest) -> str:
    return f'"{client()[1]}"'


@limited(UNLIMITED)
class ClientView(View):
    """The client, for everybody: a pipeline fetches it before it uses its key."""

    @method_decorator(condition(etag_func=etag))
    def get(self, request: HttpRequest) -> HttpResponse:
        response = HttpResponse(client()[0], content_type="text/x-python; charset=utf-8")
        # Kept by caches, asked for at every use: an old client must not outlive an upgrade by long.
        response["Cache-Control"] = "public, max-age=300, must-revalidate"
        response["Content-Disposition"] = 'inline; filename="seqpulse.py"'
        return response
