"""Parsing, errors and schema of the API (docs/protocol.md)."""

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, JsonResponse
from rest_framework import exceptions, status
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.response import Response

from common.database_state import DatabaseState
from common.strict_json import InvalidJSON, read_json

# Prefixes of what is called with an API key; tests/test_stacks.py finds a view that has none of them.
API_CALLS = ("/deployments", "/verifications", "/environments", "/gate", "/samples", "/v1/metrics", "/sdh")
API_PREFIXES = (*API_CALLS, "/api/", "/health", "/db-check", "/metrics", "/ds-metrics", "/integrations/", "/alerts/")
RETRY_AFTER_SECONDS = 5
CANNOT_WRITE_WORDS = "The database can be read but not written at the moment; nothing was stored. Try again later."
DATABASE_WORDS = {
    DatabaseState.AWAY: "The database does not answer at the moment. Try again in a few seconds.",
    DatabaseState.READ_ONLY: CANNOT_WRITE_WORDS,
    DatabaseState.FULL: CANNOT_WRITE_WORDS,
    DatabaseState.BUSY: "The database is too busy at the moment. Try again in a few seconds.",
}


class PayloadTooLarge(exceptions.APIException):
    """413: the body is too large."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class StrictJSONParser(BaseParser):
    """Parse strict JSON of limited size; everything else is refused with 4xx."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        limit = settings.SEQPULSE_API_BODY_MAX_BYTES
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise PayloadTooLarge(f"The body is larger than {limit // 1024} KiB.")
        try:
            return read_json(body)
        except InvalidJSON as error:
            raise exceptions.ParseError(f"The body is not valid JSON: {error}") from None


class AlwaysJSON(BaseContentNegotiation):
    """Answer in JSON, whatever the Accept header says."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        kind = (request.content_type or "").split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


def is_api_path(path: str) -> bool:
    """Return whether callers of this path expect JSON."""
    return path.startswith(API_PREFIXES)


def error_body(code: str, message: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the body of an API error; `detail` is for existing scripts."""
    return {"error": {"code": code, "message": message, "fields": fields or {}}, "detail": message}


def error_response(code_number: int, code: str, message: str) -> JsonResponse:
    return JsonResponse(error_body(code, message), status=code_number)


def first_words(detail: Any, name: str = "") -> str:
    """Return the first field error as one sentence: "env: This field is required."."""
    while isinstance(detail, (dict, list)) and detail:
        if isinstance(detail, dict):
            key, detail = next(iter(detail.items()))
            name = name if key == "non_field_errors" else str(key)
        else:
            detail = detail[0]
    return f"{name}: {detail}" if name else str(detail)


def in_words(error: Exception, context: dict[str, Any]) -> Exception:
    """Return the exception as the framework's, with what to send instead where the framework does not say it."""
    if isinstance(error, Http404):
        return exceptions.NotFound("This project has nothing with this id.")
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(error, RequestDataTooBig):
        return PayloadTooLarge("The body is too large.")
    if isinstance(error, exceptions.NotAuthenticated):
        error.detail = exceptions.ErrorDetail(
            "Send the API key of the project in the header X-API-Key.", error.default_code
        )
    elif isinstance(error, exceptions.MethodNotAllowed):
        allowed = ", ".join(getattr(context.get("view"), "allowed_methods", []))
        error.detail = exceptions.ErrorDetail(f"This address takes {allowed}.", error.default_code)
    elif isinstance(error, exceptions.UnsupportedMediaType):
        given = getattr(context.get("request"), "content_type", "") or "nothing"
        words = f"Send the body as JSON, with the header Content-Type: application/json. This one says {given}."
        error.detail = exceptions.ErrorDetail(words, error.default_code)
    return error


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Convert an exception to the form of docs/protocol.md; None (500, logged) for errors of ours."""
    error = in_words(error, context)
    if not isinstance(error, exceptions.APIException):
        return None
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = str(challenge)
    if (wait_s := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(int(wait_s) + 1)
    if isinstance(error, exceptions.ValidationError):
        fields = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
        body = error_body("invalid", first_words(error.detail), fields)
    else:
        codes = error.get_codes()
        code = codes if isinstance(codes, str) else "error"
        body = error_body(code, str(error.detail), getattr(error, "fields", {})) | getattr(error, "more", {})
    return Response(body, status=error.status_code, headers=headers)
