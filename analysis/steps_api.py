"""The API of stepwise rollouts (docs/canary.md)."""

from typing import Any, cast
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from analysis.api import MAX_RETRY_AFTER_S, WAIT_SCHEMA, WaitRequest, deployment_called
from analysis.models import Step, VerdictName
from analysis.recorded import without_facts
from analysis.steps import MOST_SECONDS, NoStep, UnknownDeployment, begin_step
from common.holding import Answer, can_hold, hold, rendered
from common.listing import StrictAPIView
from common.openapi import described
from deployments import changes
from deployments.serializers import CREATION
from explain.rendering import render
from projects.authentication import project_of, still_usable
from projects.models import ApiKey
from security.limits import DEPLOYMENTS, limited

NEXT = ("continue", "wait", "rollback")


class StepRequest(serializers.Serializer[Any]):
    percent = serializers.IntegerField(
        min_value=1, max_value=100, help_text="Share of the traffic that the new version gets from now on."
    )
    seconds = serializers.FloatField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        max_value=MOST_SECONDS,
        help_text="How long the step is measured, 60 samples at most; missing: as long as a deployment.",
    )


class StepAnswer(serializers.Serializer[Any]):
    deployment_id = serializers.UUIDField()
    status = serializers.ChoiceField(CREATION, required=False)
    number = serializers.IntegerField(help_text="1, 2, … in the order of the calls")
    percent = serializers.IntegerField()
    next = serializers.ChoiceField(NEXT, help_text="wait until the step has its verdict")
    verdict = serializers.ChoiceField(VerdictName.choices, allow_null=True)
    confidence = serializers.FloatField(allow_null=True)
    conclusive = serializers.BooleanField(allow_null=True)
    shadow = serializers.BooleanField()
    summary = serializers.CharField(allow_null=True)
    checks = serializers.ListField(child=serializers.DictField(), help_text="As those of the verdict.")
    starts_at = serializers.DateTimeField()
    verdict_due_at = serializers.DateTimeField()


class StepList(serializers.Serializer[Any]):
    results = StepAnswer(many=True)


class Refused(APIException):
    """409: the deployment takes no such step."""

    status_code = status.HTTP_409_CONFLICT

    def __init__(self, error: NoStep) -> None:
        super().__init__(str(error), code=error.state or error.code)


def answer_of(step: Step, uuid: UUID) -> dict[str, Any]:
    judged = step.judged
    return {
        "deployment_id": str(uuid),
        "number": step.number,
        "percent": step.percent,
        "next": step.next,
        "verdict": step.verdict or None,
        "confidence": step.confidence,
        "conclusive": step.conclusive,
        "shadow": step.shadow,
        "summary": render(judged.verdict.summary) if judged else None,
        "checks": without_facts((step.outcome or {}).get("checks", [])),
        "starts_at": step.starts_at.isoformat(),
        "verdict_due_at": step.ends_at.isoformat(),
    }


def response_of(step: Step, uuid: UUID, how: str, *, held: bool = False) -> Response:
    """Return 200 with the verdict of the step, 202 while there is none."""
    body = {**answer_of(step, uuid), "status": how}
    if step.verdict:
        return Response(body)
    # A caller that was held may call again at once; others when the next sample is due.
    retry_after = 1 if held else max(1, min(MAX_RETRY_AFTER_S, round(step.interval_s)))
    return Response(body, status=status.HTTP_202_ACCEPTED, headers={"Retry-After": str(retry_after)})


@limited(DEPLOYMENTS)
class StepView(StrictAPIView):
    """The steps of a stepwise rollout."""

    query_parameters = ("wait",)

    @described(operation_id="steps", responses=StepList)
    def get(self, request: Request, uuid: UUID) -> Response:
        """Return the steps of a deployment in their order; a hundred at most."""
        steps = Step.objects.filter(deployment=deployment_called(request, uuid)).order_by("number")
        return Response({"results": [answer_of(step, uuid) for step in steps]})

    @described(
        operation_id="step",
        request=StepRequest,
        parameters=[OpenApiParameter("wait", WAIT_SCHEMA, description="Hold the answer for up to so many seconds.")],
        responses={
            200: StepAnswer,
            202: OpenApiResponse(
                StepAnswer, description="No verdict yet (`wait`); Retry-After says when to ask again."
            ),
            409: OpenApiResponse(
                description="`step_not_rising`: a step of as many per cent or more came before. `finished`, "
                "`analyzed`, `superseded`, `abandoned`: the deployment is over."
            ),
        },
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        """Begin a step, or ask for the verdict of one that began: what the rollout should do next."""
        query = WaitRequest(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        body = StepRequest(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            stepped = begin_step(project_of(request), uuid, **body.validated_data)
        except UnknownDeployment:
            raise Http404 from None
        except NoStep as error:
            raise Refused(error) from None
        step, how = stepped.step, "created" if stepped.is_new else "existing"
        wait_s = query.validated_data["wait"]
        if wait_s and not step.verdict and can_hold(request):
            hold(request, verdict_of(request, step, uuid, how=how, wait_s=wait_s))
        return response_of(step, uuid, how)


def verdict_of(request: Request, step: Step, uuid: UUID, *, how: str, wait_s: float) -> Answer:
    """Return what waits for the verdict of a step."""
    pk, key = step.pk, cast("ApiKey", request.auth).pk

    def look(last: bool) -> Response | None:
        # A step whose deployment is deleted meanwhile, or a key that is revoked, is refused at the next call.
        found = Step.objects.filter(pk=pk).first() if still_usable(key) else None
        if found is None or not (found.verdict or last):
            return None
        return response_of(found, uuid, how, held=last and wait_s >= 1)

    owner = f"project:{project_of(request).pk}"
    return Answer((changes.deployment(step.deployment_id),), wait_s, owner, rendered(look))
