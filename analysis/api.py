"""Reading API: deployments, verdicts and hints (docs/protocol.md)."""

import math
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from analysis.acknowledging import CannotAcknowledge, acknowledge, readable
from analysis.models import Acknowledgement, Hint, Severity, VerdictName, Via
from analysis.one import Found, find
from analysis.serializers import (
    AcknowledgementRequest,
    AcknowledgementSerializer,
    DeploymentSerializer,
    DeploymentWithSamples,
    HintSerializer,
    NoVerdict,
    PendingVerdict,
    ProjectHintSerializer,
    StandingVerdict,
    VerdictSerializer,
)
from common.holding import Answer, can_hold, hold, rendered
from common.listing import ListFilter, NewestFirst, StrictAPIView
from common.moments import IsoMomentField
from common.openapi import described
from deployments import changes
from deployments.api import sentences
from deployments.closing import earlier_attempt, why_closed
from deployments.models import NEVER_JUDGED, Deployment, State
from projects.authentication import project_of, still_usable
from projects.models import ApiKey
from security.limits import DEPLOYMENTS, limited

MAX_WAIT_S = 60
MAX_RETRY_AFTER_S = 15
WAIT_SCHEMA = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S}


class MomentFilter(django_filters.IsoDateTimeFilter):
    field_class = IsoMomentField


class DeploymentFilter(ListFilter):
    """environment: its name; idempotency_key: of trigger; started_after and started_before: ISO 8601."""

    environment = django_filters.CharFilter(field_name="environment__name")
    idempotency_key = django_filters.CharFilter(method="with_key")
    state = django_filters.ChoiceFilter(choices=State.choices)
    verdict = django_filters.ChoiceFilter(field_name="verdict__verdict", choices=VerdictName.choices)
    started_after = MomentFilter(field_name="started_at", lookup_expr="gte")
    started_before = MomentFilter(field_name="started_at", lookup_expr="lt")

    class Meta:
        model = Deployment
        fields: list[str] = []

    def with_key(self, rows: Any, _name: str, key: str) -> Any:
        return rows.with_key_in(project_of(self.request), key)


class HintFilter(ListFilter):
    """deployment: its id."""

    severity = django_filters.ChoiceFilter(choices=Severity.choices)
    deployment = django_filters.UUIDFilter(field_name="deployment__uuid")
    code = django_filters.CharFilter()

    class Meta:
        model = Hint
        fields: list[str] = []


@limited(DEPLOYMENTS)
class DeploymentListView(ListAPIView[Deployment]):
    """The project's deployments, newest first."""

    serializer_class = DeploymentSerializer
    pagination_class = NewestFirst
    filterset_class = DeploymentFilter
    queryset = Deployment.objects.none()

    def get_queryset(self) -> QuerySet[Any, Any]:
        if not self.request.user:
            return self.queryset
        rows: QuerySet[Any, Any] = Deployment.objects.of(project_of(self.request))
        return rows.values("id", *DeploymentSerializer.columns())


@limited(DEPLOYMENTS)
class DeploymentDetailView(StrictAPIView):
    """One deployment."""

    @described(operation_id="deployment", responses=DeploymentWithSamples)
    def get(self, request: Request, uuid: UUID) -> Response:
        """Return a deployment; its verdict is null until it exists."""
        found = find(project_of(request).pk, uuid)
        if found is None:
            raise Http404
        return Response({**DeploymentSerializer(found.values).data, "samples": sample_count(found)})


class HintListView(ListAPIView[Hint]):
    """The project's hints (SDH), newest first."""

    serializer_class = ProjectHintSerializer
    pagination_class = NewestFirst
    filterset_class = HintFilter
    queryset = Hint.objects.none()

    def get_queryset(self) -> QuerySet[Any, Any]:
        if not self.request.user:
            return self.queryset
        rows: QuerySet[Any, Any] = Hint.objects.filter(deployment__project=project_of(self.request))
        return rows.values("id", *ProjectHintSerializer.columns())


class WaitRequest(serializers.Serializer[Any]):
    wait = serializers.FloatField(min_value=0, max_value=MAX_WAIT_S, default=0)

    def validate_wait(self, value: float) -> float:
        if math.isnan(value):
            raise serializers.ValidationError(f"This has to be a number from 0 to {MAX_WAIT_S}.")
        return value


@limited(DEPLOYMENTS)
class VerdictView(StrictAPIView):
    """The gate for pipelines."""

    query_parameters = ("wait",)

    @described(
        operation_id="verdict",
        parameters=[OpenApiParameter("wait", WAIT_SCHEMA, description="Hold the answer for up to so many seconds.")],
        responses={
            200: StandingVerdict,
            202: OpenApiResponse(PendingVerdict, description="No verdict yet; Retry-After says when to ask again."),
            409: OpenApiResponse(NoVerdict, description="`abandoned`, `superseded`: there will be no verdict."),
        },
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        """Return the verdict: 202 until it exists, then 200; 409 if the deployment ended without a finish."""
        query = WaitRequest(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        found = find(project_of(request).pk, uuid)
        if found is None:
            raise Http404
        return awaited_gate(request, found, query.validated_data["wait"])


def awaited_gate(request: Request, found: Found, wait_s: float) -> Response:
    """Return the gate; where the verdict is pending and the server can, hold the answer for up to so many seconds."""
    if wait_s and not is_over(found.deployment) and can_hold(request):
        hold(request, verdict_of(found.deployment, cast("ApiKey", request.auth), wait_s))
    return gate_of(found)


def verdict_of(deployment: Deployment, api_key: ApiKey, wait_s: float) -> Answer:
    """Return what waits for the verdict."""
    pk, uuid, project, key = deployment.pk, deployment.uuid, deployment.project_id, api_key.pk

    def look(last: bool) -> Response | None:
        # A deployment that is deleted meanwhile, or a key that is revoked, is refused at the next call.
        found = find(project, uuid)
        if found is None or not still_usable(key):
            return None
        if not last and not is_over(found.deployment):
            return None
        return gate_of(found, held=last and wait_s >= 1)

    alike = ("verdict", pk, key, wait_s >= 1)
    return Answer((changes.state_of(pk),), wait_s, f"project:{project}", rendered(look), key=alike)


def gate_of(found: Found, *, held: bool = False) -> Response:
    """Return the verdict, or 202. Raises NeverJudged. held: the call has waited for as long as it asked."""
    deployment = found.deployment
    head = {
        "deployment_id": str(deployment.uuid),
        "state": deployment.state,
        "samples": sample_count(found),
        "message": sentences(earlier_attempt(deployment)) or None,
    }
    if deployment.state in NEVER_JUDGED:
        raise NeverJudged(deployment, head)
    if not stands(deployment):
        # A caller that was held may call again at once; others when the next sample is due.
        retry_after = 1 if held else max(1, min(MAX_RETRY_AFTER_S, round(deployment.interval_s)))
        due = deployment.window_ends_at
        pending = {
            **head,
            "gate": "pending",
            "verdict": None,
            "verdict_due_at": due and due.isoformat(),
            "levels": levels_of(found),
        }
        return Response(pending, status=202, headers={"Retry-After": str(retry_after)})
    verdict = VerdictSerializer(deployment.verdict).data
    hints = HintSerializer(rows, many=True).data if (rows := list(deployment.hints.all())) else []
    return Response({**head, **verdict, "hints": hints})


class NeverJudged(APIException):
    """409: the deployment ended without a finish, so there will be no verdict. more: further fields of the answer."""

    status_code = status.HTTP_409_CONFLICT

    def __init__(self, deployment: Deployment, head: Mapping[str, Any]) -> None:
        super().__init__(sentences([why_closed(deployment), *earlier_attempt(deployment)]), code=str(deployment.state))
        self.more = {**head, "gate": "none", "verdict": None}


def stands(deployment: Deployment) -> bool:
    return hasattr(deployment, "verdict")


def is_over(deployment: Deployment) -> bool:
    """Return whether the verdict exists, or it is known that there will be none."""
    return stands(deployment) or deployment.state in NEVER_JUDGED


def levels_of(found: Found) -> dict[str, dict[str, float]]:
    """Return the mean of each metric before the deployment and so far after it, of those that have both."""
    return {
        metric: {"before": before, "after": after}
        for metric, (before, after) in found.levels.items()
        if before is not None and after is not None
    }


def sample_count(found: Found) -> dict[str, int]:
    """Return the numbers of collected and expected POST samples."""
    return {"collected": found.collected, "expected": found.deployment.window_samples}


@limited(DEPLOYMENTS)
class AcknowledgementsView(StrictAPIView):
    """What people said about a deployment."""

    @described(operation_id="acknowledgements", responses=AcknowledgementSerializer(many=True))
    def get(self, request: Request, uuid: UUID) -> Response:
        """Return what people said about the deployment, oldest first; a hundred at most."""
        rows = Acknowledgement.objects.filter(deployment=deployment_called(request, uuid)).order_by("pk")
        return Response(AcknowledgementSerializer(rows, many=True).data)

    @described(
        operation_id="acknowledge",
        request=AcknowledgementRequest,
        responses={
            200: OpenApiResponse(AcknowledgementSerializer, description="This was said before."),
            201: AcknowledgementSerializer,
        },
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        """Acknowledge a deployment: on it, rolled back, or the verdict ignored for a reason."""
        body = AcknowledgementRequest(data=request.data)
        body.is_valid(raise_exception=True)
        deployment = deployment_called(request, uuid)
        given = body.validated_data
        who = name_of_caller(request, given)
        try:
            said = acknowledge(deployment, given["what"], who=who, via=Via.API, reason=given["reason"])
        except CannotAcknowledge as error:
            raise serializers.ValidationError({error.field: [str(error)]}) from None
        except Deployment.DoesNotExist:
            raise Http404 from None
        status_code = status.HTTP_201_CREATED if said.is_new else status.HTTP_200_OK
        return Response(AcknowledgementSerializer(said.row).data, status=status_code)


def name_of_caller(request: Request, body: Mapping[str, Any]) -> str:
    """Return the name that is shown for a validated NamedRequest."""
    return readable(body["who"], 150) or cast("ApiKey", request.auth).name


def deployment_called(request: Request, uuid: UUID) -> Deployment:
    """Return the project's deployment. Raises Http404, also for that of another project."""
    rows = Deployment.objects.of(project_of(request)).select_related("project", "environment")
    found = rows.filter(uuid=uuid).first()
    if found is None:
        raise Http404("unknown deployment")
    return found
