"""Find the address of the client of a request."""

from django.conf import settings
from django.http import HttpRequest

from security.callers import client_address


def address_of(request: HttpRequest) -> str:
    """Return the client's address as seen through trusted proxies (SEQPULSE_TRUSTED_PROXIES)."""
    remote = request.META.get("REMOTE_ADDR", "")
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return client_address(remote, forwarded, settings.SEQPULSE_TRUSTED_PROXIES) or remote
