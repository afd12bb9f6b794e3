"""Record when each session was last used, for the list of sessions in the settings."""

from datetime import timedelta

from allauth.account.adapter import get_adapter
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

from common.database_state import bookkeeping
from seqpulse.api import is_api_path

# Shortest interval between writes per session and process. Signing in writes by itself.
EVERY = timedelta(minutes=1)


class ActivityMiddleware(MiddlewareMixin):
    """Record the use and the address of the session of each page."""

    def process_request(self, request: HttpRequest) -> None:
        if not is_api_path(request.path_info) and request.user.is_authenticated:
            note(request)


def note(request: HttpRequest) -> None:
    """Record that the session is in use, unless recently recorded: at most one statement, mostly none."""
    key = request.session.session_key
    since = timezone.now() - EVERY
    signed_in = request.user.last_login  # type: ignore[union-attr]  # signed in
    fresh = signed_in is not None and signed_in > since
    if key is None or fresh or not cache.add(f"session-in-use:{key}", True, EVERY.total_seconds()):
        return
    with bookkeeping("session in use"):
        UserSession.objects.filter(session_key=key, last_seen_at__lt=since).update(
            last_seen_at=Now(),
            ip=get_adapter(request).get_client_ip(request),
            user_agent=request.META.get("HTTP_USER_AGENT", "").replace("\0", "")[:200],
        )
