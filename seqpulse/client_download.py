"""GET /cli/seqpulse.py: the command line client, as it is in the repository.

It holds no values of this server, so that its hash is that of the file.
"""

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.http import condition

from common.client_file import client_file
from security.limits import UNLIMITED, limited


def etag(request: HttpRequest) -> str:
    return f'"{client_file()[1]}"'


@limited(UNLIMITED)
class ClientView(View):
    """The client, for everybody: a pipeline fetches it before it uses its key."""

    @method_decorator(condition(etag_func=etag))
    def get(self, request: HttpRequest) -> HttpResponse:
        response = HttpResponse(client_file()[0], content_type="text/x-python; charset=utf-8")
        # Caches ask again after five minutes: an old client must not outlive an upgrade by long.
        response["Cache-Control"] = "public, max-age=300, must-revalidate"
        response["Content-Disposition"] = 'inline; filename="seqpulse.py"'
        return response
