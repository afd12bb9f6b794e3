"""The OpenAPI document and the page that shows it. Imported by the first request for one of them."""

from collections.abc import Iterator
from typing import Any

from django.views import View
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation


class Schema(SpectacularAPIView):
    """The document, in YAML or JSON."""

    content_negotiation_class = DefaultContentNegotiation
    # Django's: REST framework renders a description of the view, here with what renders the document.
    options = View.options  # type: ignore[assignment]

    def _get_version_parameter(self, request: Any) -> None:
        """Ignore a version in the query, which would become part of a header: there is one."""


class Docs(SpectacularSwaggerSplitView):
    """The page. Its template has no inline style, which our Content-Security-Policy refuses, and a dark theme."""

    template_name = "api_docs.html"

    options = View.options  # type: ignore[assignment]


schema = Schema.as_view()
docs = Docs.as_view(url_name="schema")


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself, untyped
    """Document API keys."""

    target_class = "projects.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-API-Key"}


class FlaggerScheme(ApiKeyScheme):  # type: ignore[no-untyped-call]  # registers itself, untyped
    """Document the keys that Flagger sends: OpenAPI knows no key within a body."""

    target_class = "analysis.gate.FlaggerAuthentication"
    name = "FlaggerKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {**super().get_security_definition(auto_schema), "description": "Or `metadata.key` of the body."}


def with_descriptions(endpoints: list[Any], **kwargs: Any) -> list[Any]:
    """Give drf-spectacular, before it writes, what `common.openapi.described` has noted on the views' methods."""
    for _, _, verb, callback in endpoints:
        method: Any = getattr(callback.cls, verb.lower())
        description = getattr(method, "openapi", None)
        if description is not None and "schema" not in getattr(method, "kwargs", {}):
            extend_schema(**description)(method)
    return endpoints


def without_trailing_slashes(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Remove the optional trailing slashes from the document."""
    result["paths"] = {path.rstrip("/") or "/": calls for path, calls in result["paths"].items()}
    return result


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
ERROR = {
    "type": "object",
    "description": "Why a call was refused.",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": TEXT,
                "message": TEXT,
                "fields": {
                    "type": "object",
                    "additionalProperties": True,
                    "description": "What is wrong, by field of the body or query parameter.",
                },
            },
            "required": ["code", "message", "fields"],
        },
        "detail": {**TEXT, "description": "The message again, for scripts that read it."},
        "gate": {
            **TEXT,
            "enum": ["pending", "none"],
            "description": "Of the gates only: pending where the same call may succeed later, else none.",
        },
    },
    "required": ["error", "detail"],
}
RETRY_AFTER = {
    "Retry-After": {"description": "Seconds until the call may succeed.", "schema": NUMBER, "required": True}
}
RATE = {f"X-RateLimit-{name}": {"schema": NUMBER} for name in ("Limit", "Remaining", "Reset")}
# By status: the name of the response, its codes and meaning, and its headers.
ERRORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "400": (
        "Invalid",
        "`invalid`, `parse_error`, `bad_request`: a field, a query parameter or the body is wrong.",
        {},
    ),
    "401": ("Unauthenticated", "`not_authenticated`, `authentication_failed`: the API key is missing, or unknown.", {}),
    "404": ("NotFound", "`not_found`: the project has nothing with this id.", {}),
    "405": ("MethodNotAllowed", "`method_not_allowed`: the path takes other methods; the header Allow names them.", {}),
    "408": ("RequestTimeout", "`request_timeout`: the request did not arrive in time.", RETRY_AFTER),
    "413": ("TooLarge", "`too_large`: the body is too large.", {}),
    "415": ("UnsupportedMediaType", "`unsupported_media_type`: the body is not declared as JSON.", {}),
    "429": ("RateLimited", "`rate_limited`: too many calls. `too_many_connections`: at once.", {**RETRY_AFTER, **RATE}),
    "431": ("HeadTooLarge", "`head_too_large`: the head of the request is too large.", {}),
    "503": ("Unavailable", "`database_unavailable`, `overloaded`: the same call may succeed in seconds.", RETRY_AFTER),
}
IN_JSON = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def errors_of(path: str, call: dict[str, Any]) -> Iterator[str]:
    """Yield the statuses of ERRORS that a call may be answered with."""
    for status in ERRORS:
        if (status == "404" and "{" not in path) or (status in ("413", "415") and "requestBody" not in call):
            continue
        yield status


def with_errors(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Add to each call the errors of all calls, and the form of errors to those that a view documents by itself."""
    components = result["components"]
    components["schemas"]["Error"] = ERROR
    components["responses"] = {
        name: {"description": words, "headers": headers, "content": IN_JSON} for name, words, headers in ERRORS.values()
    }
    for path, calls in result["paths"].items():
        for call in calls.values():
            for status, response in call["responses"].items():
                if int(status) >= 400:
                    response.setdefault("content", IN_JSON)
            for status in errors_of(path, call):
                call["responses"].setdefault(status, {"$ref": f"#/components/responses/{ERRORS[status][0]}"})
    return result
