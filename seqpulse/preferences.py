"""How whoever looks wants pages: language, time zone, theme."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import timezone, translation

from accounts.models import Theme, User
from seqpulse.api import is_api_path
from seqpulse.middleware import database_away

logger = structlog.get_logger(__name__)


class LanguageMiddleware(LocaleMiddleware):
    """The language of the cookie, else of the browser; English for what programs read (API, health, metrics)."""

    def process_request(self, request: HttpRequest) -> None:
        timezone.deactivate()
        if is_api_path(request.path_info):
            translation.activate(settings.LANGUAGE_CODE)
            request.LANGUAGE_CODE = settings.LANGUAGE_CODE
        else:
            super().process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response if is_api_path(request.path_info) else super().process_response(request, response)


class PreferencesMiddleware:
    """The language and the time zone that the person has chosen, on pages; programs cost no look-up of a session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_api_path(request.path_info):
            try:
                if request.user.is_authenticated:
                    apply(request, request.user)
            except (OperationalError, InterfaceError) as error:
                logger.error("database_away", error=str(error))
                return database_away(request)
        return self.get_response(request)


def apply(request: HttpRequest, person: User) -> None:
    """From here on texts and times of this request are as the person wants them."""
    if person.language in dict(settings.LANGUAGES):
        translation.activate(person.language)
        request.LANGUAGE_CODE = person.language
    if person.time_zone:
        try:
            timezone.activate(ZoneInfo(person.time_zone))
        except (ZoneInfoNotFoundError, ValueError):
            # Renamed since it was chosen: UTC, as for those who chose none.
            logger.warning("unknown_time_zone", time_zone=person.time_zone, user_id=person.pk)


def preferences(request: HttpRequest) -> dict[str, str]:
    """For templates: the theme, "" for the one that the device asks for."""
    theme = getattr(getattr(request, "user", None), "theme", "")
    return {"theme": theme if theme in Theme.values else ""}
