"""API of rollbacks (docs/rollback.md): approve one, and see what became of it."""

from typing import Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers, status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from analysis.api import deployment_called, name_of_caller
from analysis.models import Via
from analysis.serializers import NamedRequest
from common.listing import StrictAPIView
from common.openapi import described
from deployments.models import Deployment
from explain.rendering import render
from notifications.headlines import fact_of
from notifications.models import AttemptState, Result, RollbackAttempt
from notifications.rollbacks.attempts import CannotRollBack, approve, candidates, why_not
from security.limits import DEPLOYMENTS, limited

NONE = "none"
STATES = [(name, name) for name in (NONE, *AttemptState.values)]


class RollbackRequest(NamedRequest):
    """Who approves."""


class RollbackAnswer(serializers.Serializer[Any]):
    """The attempt to roll a deployment back."""

    deployment_id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=STATES, help_text="none: there is no attempt.")
    attempt_id = serializers.UUIDField(allow_null=True)
    approved_by = serializers.CharField(allow_null=True, help_text="null: nobody, it is automatic or not approved.")
    approved_at = serializers.DateTimeField(allow_null=True)
    sent_at = serializers.DateTimeField(allow_null=True)
    answer_status = serializers.IntegerField(allow_null=True, help_text="Of the receiver.")
    error = serializers.CharField(allow_null=True)
    rollback_deployment_id = serializers.UUIDField(allow_null=True, help_text="The deployment that is the rollback.")
    result = serializers.ChoiceField(choices=Result.choices, allow_null=True, help_text="null: not known yet.")
    possible = serializers.BooleanField(help_text="Whether a call of POST would start it.")
    why_not = serializers.CharField(allow_null=True)


class RollbackRefused(APIException):
    """409: the deployment is not to be rolled back now; the code says why."""

    status_code = status.HTTP_409_CONFLICT

    def __init__(self, error: CannotRollBack) -> None:
        super().__init__(f"No rollback: {error}.", code=error.code.replace(".", "_"))


@limited(DEPLOYMENTS)
class DeploymentRollbackView(StrictAPIView):
    """The rollback of a deployment."""

    @described(operation_id="rollback_state", responses=RollbackAnswer)
    def get(self, request: Request, uuid: UUID) -> Response:
        """Return the attempt to roll the deployment back, and whether there may be one."""
        return Response(answer_of(deployment_called(request, uuid)))

    @described(
        operation_id="rollback",
        request=RollbackRequest,
        responses={
            200: OpenApiResponse(RollbackAnswer, description="It was started before: nothing changes."),
            202: OpenApiResponse(RollbackAnswer, description="The request is sent within seconds."),
            409: OpenApiResponse(description="`rollback_…`: why it is not to be rolled back."),
        },
    )
    def post(self, request: Request, uuid: UUID) -> Response:
        """Approve the rollback of the deployment: its environment's webhook is called, once."""
        body = RollbackRequest(data=request.data)
        body.is_valid(raise_exception=True)
        deployment = deployment_called(request, uuid)
        who = name_of_caller(request, body.validated_data)
        try:
            approved = approve(deployment, who=who, via=Via.API)
        except CannotRollBack as error:
            raise RollbackRefused(error) from None
        except Deployment.DoesNotExist:
            raise Http404 from None
        code = status.HTTP_202_ACCEPTED if approved.is_new else status.HTTP_200_OK
        return Response(answer_of(deployment), status=code)


def answer_of(deployment: Deployment) -> dict[str, Any]:
    found = candidates().select_related("rollback_attempt__rollback").filter(pk=deployment.pk).first()
    if found is None:
        raise Http404("unknown deployment")
    attempt: RollbackAttempt | None = getattr(found, "rollback_attempt", None)
    started = attempt is not None and attempt.state != AttemptState.ASKED
    why = None if started else why_not(found)
    error = fact_of(attempt.error) if attempt is not None else None
    rollback = attempt.rollback if attempt is not None else None
    return dict(
        RollbackAnswer(
            {
                "deployment_id": found.uuid,
                "state": attempt.state if attempt is not None else NONE,
                "attempt_id": attempt and attempt.uuid,
                "approved_by": attempt and (attempt.who or None),
                "approved_at": attempt and attempt.approved_at,
                "sent_at": attempt and attempt.sending_at,
                "answer_status": attempt and attempt.answer_status,
                "error": render(error) if error else None,
                "rollback_deployment_id": rollback and rollback.uuid,
                "result": attempt and (attempt.result or None),
                "possible": not started and why is None,
                "why_not": render(why) if why else None,
            }
        ).data
    )
