"""Apply the user's preferences to pages: language, time zone, theme."""

from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError
from zoneinfo import available_timezones as read_timezones

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import timezone, translation
from django.utils.deprecation import MiddlewareMixin

from accounts.models import Theme, User
from seqpulse.api import is_api_path

logger = structlog.get_logger(__name__)

# Set by static/seqpulse/device.js on every page, the one to sign in on included.
ZONE_COOKIE = "device_zone"
# Hundreds of files.
available_timezones = cache(read_timezones)


class LanguageMiddleware(LocaleMiddleware):
    """Activate the language of the cookie, else of the browser; English for API, health and metrics."""

    def process_request(self, request: HttpRequest) -> None:
        timezone.deactivate()
        if is_api_path(request.path_info):
            translation.activate(settings.LANGUAGE_CODE)
            request.LANGUAGE_CODE = settings.LANGUAGE_CODE
        else:
            super().process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response if is_api_path(request.path_info) else super().process_response(request, response)


class PreferencesMiddleware(MiddlewareMixin):
    """Activate the user's language and time zone on pages. API calls look up no session."""

    def process_request(self, request: HttpRequest) -> None:
        if not is_api_path(request.path_info) and request.user.is_authenticated:
            apply(request, request.user)


def apply(request: HttpRequest, user: User) -> None:
    """Activate the user's preferences for this request. Who chose no time zone gets that of the device."""
    if user.language in dict(settings.LANGUAGES):
        translation.activate(user.language)
        request.LANGUAGE_CODE = user.language
    if user.time_zone:
        try:
            timezone.activate(ZoneInfo(user.time_zone))
        except (ZoneInfoNotFoundError, ValueError):
            # Removed since it was chosen: UTC, as without a choice.
            logger.warning("unknown_time_zone", time_zone=user.time_zone, user_id=user.pk)
    elif (device := request.COOKIES.get(ZONE_COOKIE, "")) in available_timezones():
        timezone.activate(ZoneInfo(device))


def preferences(request: HttpRequest) -> dict[str, str]:
    """Return the theme for templates, "" for that of the device."""
    theme = getattr(getattr(request, "user", None), "theme", "")
    return {"theme": theme if theme in Theme.values else ""}
