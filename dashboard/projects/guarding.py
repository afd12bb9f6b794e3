"""Warn users that the endpoint that they set will not be called."""

from django.contrib import messages
from django.http import HttpRequest

from common.validation import localized
from projects.guarding import refused_endpoint
from projects.models import Environment


def warn_of_guard(request: HttpRequest, environment: Environment) -> None:
    """Add a warning where no request may go to the environment's endpoint."""
    refused = refused_endpoint(environment.metrics_endpoint) if environment.metrics_endpoint else None
    if refused is not None:
        messages.warning(request, localized(refused))
