"""The API of an environment's sources: list, replace, and try them (docs/sources.md)."""

from collections.abc import Mapping
from typing import Any

import structlog
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from common.listing import StrictAPIView
from common.openapi import described
from explain.facts import Fact
from explain.rendering import render
from metrics.alerting import address_for
from metrics.configuring import Trial
from metrics.models import Source
from metrics.payload import METRICS
from metrics.source_lists import as_listed, replace_sources, stored_list, try_list
from metrics.sources import SOURCE_KINDS
from metrics.sources.base import InvalidConfig
from projects.authentication import project_of
from projects.models import Environment
from security.limits import DEPLOYMENTS, Caller, Limit, limited

logger = structlog.get_logger(__name__)

NOT_FOUND = OpenApiResponse(description="The project has no environment of this name.")
KINDS = ", ".join(kind.name for kind in SOURCE_KINDS)


class ProblemSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class SourceSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text=f"One of {KINDS}.")
    config = serializers.JSONField(help_text="Its settings (docs/sources.md), without its secrets.")
    secrets = serializers.ListField(child=serializers.CharField(), help_text="Where it has secrets, by their paths.")
    answered_at = serializers.DateTimeField(allow_null=True)
    failed_at = serializers.DateTimeField(allow_null=True)
    failure = ProblemSerializer(allow_null=True)


class SourceListSerializer(serializers.Serializer[Any]):
    sources = SourceSerializer(many=True)


class GivenSourceSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text=f"One of {KINDS}.")
    config = serializers.JSONField(required=False, help_text="Its settings, or beside its kind.")


class GivenSourcesSerializer(serializers.Serializer[Any]):
    sources = GivenSourceSerializer(many=True)


class TrialSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField()
    works = serializers.BooleanField()
    took_ms = serializers.FloatField()
    metrics = serializers.DictField(child=serializers.FloatField(), help_text="ms, ratios 0..1, requests per second.")
    problem = ProblemSerializer(allow_null=True)
    notes = serializers.ListField(child=serializers.CharField())


class TrialListSerializer(serializers.Serializer[Any]):
    sources = TrialSerializer(many=True)


def problem(fact: Fact | None) -> dict[str, str] | None:
    return None if fact is None else {"code": fact.code, "message": render(fact)}


def listed(environment: Environment) -> dict[str, Any]:
    rows = [as_listed(row) for row in environment.sources.all()]
    return {"sources": [{**row, "failure": problem(row["failure"])} for row in rows]}


def trial(kind: str, tried: Trial) -> dict[str, Any]:
    found = {name: value for name in METRICS if (value := getattr(tried.metrics, name)) is not None}
    return {
        "kind": kind,
        "works": tried.problem is None,
        "took_ms": round(tried.took_ms, 1),
        "metrics": {**found, **tried.metrics.custom},
        "problem": problem(tried.problem),
        "notes": [render(fact) for fact in tried.told],
    }


def environment_named(request: Request, name: str) -> Environment:
    rows = Environment.objects.not_deleted().filter(project=project_of(request))
    return get_object_or_404(rows.select_related("project"), name=name)


def list_of(request: Request) -> Any:
    """Return the list in the body. Raises ValidationError."""
    body = request.data
    if not isinstance(body, Mapping) or "sources" not in body:
        raise ValidationError({"sources": ["This is needed: a list of sources, [] for none."]})
    unknown = [name for name in body if name != "sources"]
    if unknown:
        raise ValidationError({str(name)[:100]: ["Unknown. There is: sources."] for name in unknown[:20]})
    return body["sources"]


def refused(error: InvalidConfig) -> ValidationError:
    """Return the 400 of a wrong list: a sentence by the path of each wrong field."""
    return ValidationError({path: [render(fact)] for path, fact in error.errors.items()})


@limited(DEPLOYMENTS)
class SourcesView(StrictAPIView):
    """The sources of an environment, in their order."""

    @described(operation_id="sources", responses={200: SourceListSerializer, 404: NOT_FOUND})
    def get(self, request: Request, name: str) -> Response:
        """The sources of the environment, without their secrets. None: its metrics endpoint alone is asked."""
        return Response(listed(environment_named(request, name)))

    @described(
        operation_id="replace_sources",
        request=GivenSourcesSerializer,
        responses={200: SourceListSerializer, 404: NOT_FOUND},
    )
    def put(self, request: Request, name: str) -> Response:
        """Replace all sources of the environment. Secrets that are left out stay, for the same address."""
        environment = environment_named(request, name)
        try:
            changed = replace_sources(environment, list_of(request))
        except InvalidConfig as error:
            raise refused(error) from None
        kinds = list(Source.objects.filter(environment=environment).values_list("kind", flat=True))
        logger.info("sources replaced", environment=environment.pk, kinds=kinds, changed=changed)
        return Response(listed(environment))


class AlertAddressSerializer(serializers.Serializer[Any]):
    url = serializers.CharField(help_text="POST alerts there. It is shown this once.")


@limited(DEPLOYMENTS)
class AlertAddressView(StrictAPIView):
    """Where alerts of an environment are sent."""

    @described(operation_id="new_alert_address", request=None, responses={200: AlertAddressSerializer, 404: NOT_FOUND})
    def post(self, request: Request, name: str) -> Response:
        """Make a new address for alerts, and the source that takes them if there is none; the one before is invalid."""
        environment = environment_named(request, name)
        try:
            token = address_for(environment)
        except InvalidConfig as error:
            raise refused(error) from None
        logger.info("alert address made", environment=environment.pk)
        return Response({"url": request.build_absolute_uri(f"/alerts/{token}")})


@limited(Limit(("deployments", "probe"), Caller.KEY))
class SourcesTestView(StrictAPIView):
    """Try sources of an environment."""

    @described(
        operation_id="test_sources",
        request=GivenSourcesSerializer,
        responses={200: TrialListSerializer, 404: NOT_FOUND},
    )
    def post(self, request: Request, name: str) -> Response:
        """Ask each source of the body once, or without `sources` each stored one; nothing is stored."""
        environment = environment_named(request, name)
        try:
            data = list_of(request) if request.data else stored_list(environment)
            return Response({"sources": [trial(kind, tried) for kind, tried in try_list(environment, data)]})
        except InvalidConfig as error:
            raise refused(error) from None
