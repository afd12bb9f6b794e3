"""POST /samples: samples that a service sends by itself (docs/sources.md)."""

from typing import Any

from django.http import HttpRequest
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from common.listing import StrictAPIView
from common.openapi import described
from deployments.api import Archived, Usual, unknown
from deployments.services import ProjectArchived, UnknownEnvironment
from explain.facts import Fact
from explain.rendering import render
from metrics.payload import METRICS
from metrics.pushing import InvalidSamples, NotPushed, Taken, take, take_usual
from projects.authentication import Counter, SeenKey, project_of
from security.limits import SAMPLES, limited

CONFLICT = OpenApiResponse(
    description="`not_pushed`: the environment is measured in another way. `project_archived`: it takes no samples."
)


class NotPushedHere(APIException):
    """409: the environment takes no samples."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "not_pushed"


class PushedSampleRequest(serializers.Serializer[Any]):
    """One sample, for the document; metrics/pushing.py checks it."""

    at = serializers.CharField(
        required=False, help_text="ISO 8601 with an offset, or seconds since 1970; left out: now."
    )
    instance = serializers.CharField(required=False, help_text="Which of several instances sends this.")
    custom = serializers.DictField(required=False, child=serializers.FloatField(), help_text="By name.")

    def get_fields(self) -> dict[str, Any]:
        metrics = {name: serializers.FloatField(required=False, allow_null=True) for name in METRICS}
        return {**super().get_fields(), **metrics}


class SamplesRequest(serializers.Serializer[Any]):
    env = serializers.CharField()
    samples = PushedSampleRequest(many=True)


class SamplesResponse(serializers.Serializer[Any]):
    taken = serializers.IntegerField(help_text="Samples stored now.")
    repeated = serializers.IntegerField(help_text="Samples of this instance and time that were here before.")
    refused = serializers.IntegerField(help_text="Samples that are too old, or in the future.")
    errors = serializers.DictField(  # type: ignore[assignment]  # a property of its base
        child=serializers.ListField(child=serializers.CharField()), help_text="Why, by the path of the field."
    )
    message = serializers.CharField(allow_null=True)


def in_words(facts: dict[str, Fact]) -> dict[str, list[str]]:
    return {path: [render(fact)] for path, fact in facts.items()}


def answer_of(found: Taken) -> dict[str, Any]:
    return {
        "taken": found.taken,
        "repeated": found.repeated,
        "refused": found.refused,
        "errors": in_words(found.errors),
        "message": " ".join(map(render, found.notes)) or None,
    }


def body_of(content: Any) -> tuple[str, Any]:
    """Return environment and samples of a body. Raises ValidationError."""
    if not isinstance(content, dict):
        raise ValidationError({"non_field_errors": ["Send an object with env and samples."]})
    unknown_fields = [name for name in content if name not in ("env", "samples")]
    if unknown_fields:
        raise ValidationError({name[:100]: ["Unknown. There are: env, samples."] for name in unknown_fields[:20]})
    env = content.get("env")
    if not isinstance(env, str) or not env or not env.isprintable():
        raise ValidationError({"env": ["Name the environment."]})
    if "samples" not in content:
        raise ValidationError({"samples": ["This field is required."]})
    return env, content["samples"]


@limited(SAMPLES)
class SamplesView(StrictAPIView):
    """A service sends samples."""

    @described(operation_id="push_samples", request=SamplesRequest, responses={200: SamplesResponse, 409: CONFLICT})
    def post(self, request: Request) -> Response:
        """Send up to 1,000 samples of an environment. The same instance and time twice is one sample."""
        env, samples = body_of(request.data)
        key: Any = request.auth
        try:
            return Response(answer_of(take(project_of(request), env, samples, key_id=key.pk)))
        except UnknownEnvironment as error:
            raise unknown(error) from None
        except ProjectArchived as error:
            raise Archived(str(error)) from None
        except NotPushed as error:
            raise NotPushedHere(str(error)) from None
        except InvalidSamples as error:
            raise ValidationError(in_words(dict(error.errors))) from None

    @staticmethod
    def usual(content: Any, request: HttpRequest, key: SeenKey, counter: Counter) -> Usual | None:
        """Answer a usual call in one statement; return None where it cannot be one. Raises ValidationError."""
        env, samples = body_of(content)
        try:
            found = take_usual(key, counter, env, samples)
        except InvalidSamples as error:
            raise ValidationError(in_words(dict(error.errors))) from None
        if found is None:
            return None
        return Usual(found.used, answer_of(found) if found.stored else None)
