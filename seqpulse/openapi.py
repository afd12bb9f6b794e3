"""The OpenAPI document and the page that shows it. Imported by the first request for one of them."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation

# YAML or JSON.
schema = SpectacularAPIView.as_view(content_negotiation_class=DefaultContentNegotiation)
docs = SpectacularSwaggerSplitView.as_view(url_name="schema")


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Document API keys."""

    target_class = "projects.authentication.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-API-Key"}


def with_descriptions(endpoints: list[Any], **kwargs: Any) -> list[Any]:
    """Give drf-spectacular, before it writes, what `common.openapi.described` has noted on the views' methods."""
    for _, _, verb, callback in endpoints:
        method: Any = getattr(callback.cls, verb.lower())
        description = getattr(method, "openapi", None)
        if description is not None and "schema" not in getattr(method, "kwargs", {}):
            extend_schema(**description)(method)
    return endpoints
