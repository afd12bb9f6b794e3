"""The API for CI: trigger and finish (docs/protocol.md)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast
from uuid import UUID

from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from structlog.contextvars import bind_contextvars

from common.holding import Answer, can_hold, hold, rendered
from common.listing import StrictAPIView
from common.openapi import described
from deployments import changes, statements
from deployments.file_sources import InvalidSources
from deployments.models import Deployment, Kind
from deployments.serializers import FinishRequest, FinishResponse, TriggerRequest, TriggerResponse, VerificationRequest
from deployments.services import (
    DeploymentRunning,
    EndpointConflict,
    EnvironmentFrozen,
    ProjectArchived,
    Trigger,
    UnknownEnvironment,
    finish_deployment,
    finish_named,
    pending_pre_sample,
    settled_pre_sample,
    start_deployment,
    verify,
)
from explain.facts import Fact
from explain.rendering import render
from projects.authentication import Counter, SeenKey, project_of, still_usable
from projects.models import ApiKey
from projects.policies import file_from_toml, for_environment, names_policy, sources_for, wrong_fields
from projects.policy import InvalidPolicy
from security.limits import DEPLOYMENTS, limited

MAX_WAIT_FOR_PRE_S = 10.0
FROZEN = OpenApiResponse(description="`frozen`: fields has the reason, and until when (null: until it is lifted).")
KEY_HEADER = OpenApiParameter("X-Idempotency-Key", str, OpenApiParameter.HEADER)
CONFLICT = OpenApiResponse(
    description="`endpoint_conflict`: fields has both URLs of metrics_endpoint. `project_archived`: trigger only."
)


RUNNING = OpenApiResponse(description="`deployment_running`: it is verified when it is finished. `project_archived`.")


class Conflict(APIException):
    """409: the call contradicts the configuration. fields: both values, by name."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"

    def __init__(self, error: EndpointConflict) -> None:
        super().__init__(str(error), code="endpoint_conflict")
        params = error.fact.params
        self.fields = {error.field: {"configured": params["configured"] or None, "given": params["given"]}}


class FrozenNow(APIException):
    """423: a freeze. fields: its reason, and until when it lasts (ISO 8601; null: until it is lifted)."""

    status_code = status.HTTP_423_LOCKED
    default_code = "frozen"

    def __init__(self, error: EnvironmentFrozen) -> None:
        super().__init__(str(error), code="frozen")
        self.fields = {name: error.fact.params[name] for name in ("reason", "until")}


class Archived(APIException):
    """409: the project is archived."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "project_archived"


class Running(APIException):
    """409: a deployment of the environment is running."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "deployment_running"


def unknown(error: UnknownEnvironment) -> ValidationError:
    """Return the 400 of a name that no environment has."""
    return ValidationError({error.field: [str(error)]}, code=error.code)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the services raise into errors of the API."""
    try:
        yield
    except UnknownEnvironment as error:
        raise unknown(error) from None
    except EnvironmentFrozen as error:
        raise FrozenNow(error) from None
    except EndpointConflict as error:
        raise Conflict(error) from None
    except ProjectArchived as error:
        raise Archived(str(error)) from None
    except DeploymentRunning as error:
        raise Running(str(error)) from None
    except InvalidSources as error:
        wrong = [f"{path}: {render(fact)}" for path, fact in error.errors.items()]
        raise ValidationError({"policy": wrong}) from None


def sentences(notes: Sequence[Fact]) -> str:
    return " ".join(map(render, notes))


def key_in_header(request: HttpRequest) -> str:
    """Return the idempotency key of the header, "" where there is none.

    WSGI decodes headers as Latin-1, but clients send the bytes of the text that others send in a body: UTF-8.
    """
    key: str = request.META.get("HTTP_X_IDEMPOTENCY_KEY", "").strip()
    try:
        return key.encode("latin-1").decode()
    except UnicodeError:
        return key


# A serializer copies its fields for each object; validating changes none of them.
CHECKS: dict[type, Serializer[Any]] = {kind: kind() for kind in (TriggerRequest, FinishRequest, VerificationRequest)}
for _check in CHECKS.values():
    # Made on first use, which must not be by two threads at once.
    _check.fields  # noqa: B018


def checked(serializer_class: type, body: Any, request: HttpRequest) -> dict[str, Any]:
    """Return the validated body, with the idempotency key of the header if there is one. Raises ValidationError."""
    key = key_in_header(request)
    if key and isinstance(body, dict):
        body = {**body, "idempotency_key": key}
    try:
        validated: dict[str, Any] = CHECKS[serializer_class].run_validation(body)
    except ValidationError:
        # Again, for the error in the form of answers.
        serializer_class(data=body).is_valid(raise_exception=True)
        raise
    return validated


def file_of(body: dict[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    """Return the policy and the sources of the call's seqpulse.toml for its environment, None where it has none.

    Raises ValidationError.
    """
    given, name = body["policy"], body["env"]
    if given is None or given == "":
        return None, None
    try:
        data = file_from_toml(given) if isinstance(given, str) else given
        policy = for_environment(data, name)
        return policy if names_policy(data, name) else None, sources_for(data, name)
    except InvalidPolicy as error:
        raise ValidationError({"policy": wrong_fields(error)}) from None


def trigger_of(body: dict[str, Any]) -> Trigger:
    """Return the call of a validated body. Raises ValidationError."""
    policy, sources = file_of(body)
    return Trigger(
        env=body["env"],
        idempotency_key=body["idempotency_key"] or None,
        metrics_endpoint=body["metrics_endpoint"],
        facts={**body["facts"], "kind": body["kind"]},
        policy=policy,
        sources=sources,
        force=body["force"],
        reason=body["reason"].value,
        settle_s=body["settle_seconds"],
        control=body["control"],
    )


def trigger_answer(uuid: UUID, number: int, status: str, notes: Sequence[Fact]) -> dict[str, Any]:
    bind_contextvars(deployment_id=str(uuid))
    return {"deployment_id": str(uuid), "status": status, "message": sentences(notes) or None, "number": number}


def finish_answer(uuid: UUID | None, status: str, notes: Sequence[Fact]) -> dict[str, Any]:
    found = str(uuid) if uuid else None
    if found is not None:
        bind_contextvars(deployment_id=found)
    return {"status": status, "message": sentences(notes), "deployment_id": found}


@dataclass(frozen=True, slots=True)
class Usual:
    """What one statement did for a call: the calls counted with it (None: not counted), and the answer.

    answer: None where the call is not usual, and nothing but its count was written.
    """

    used: int | None
    answer: dict[str, Any] | None = None


@limited(DEPLOYMENTS)
class TriggerView(StrictAPIView):
    """A deployment begins."""

    @described(
        operation_id="trigger",
        request=TriggerRequest,
        responses={200: TriggerResponse, 409: CONFLICT, 423: FROZEN},
        parameters=[KEY_HEADER],
    )
    def post(self, request: Request) -> Response:
        """Start a deployment: SeqPulse samples the service as it is now."""
        body = checked(TriggerRequest, request.data, request._request)
        trigger = trigger_of(body)
        with refusals():
            started = start_deployment(project_of(request), trigger)
        deployment = started.deployment
        answer = trigger_answer(deployment.uuid, deployment.number, started.status, [*started.notes, *body["notes"]])
        if body["wait_for_pre"]:
            add_pre_sample(request, deployment, answer)
        return Response(answer)

    @staticmethod
    def usual(content: Any, request: HttpRequest, key: SeenKey, counter: Counter) -> Usual | None:
        """Answer a usual call in one statement; return None where it cannot be one. Raises ValidationError."""
        body = checked(TriggerRequest, content, request)
        trigger = trigger_of(body)
        if body["wait_for_pre"] or trigger.force or trigger.brings_file or body["kind"] == Kind.ROLLBACK:
            return None
        done = statements.start(key, counter, trigger)
        if done is None:
            return None
        if done.uuid is None:
            return Usual(done.used)
        return Usual(done.used, trigger_answer(done.uuid, done.number, "created", [*done.notes, *body["notes"]]))


@limited(DEPLOYMENTS)
class VerificationView(StrictAPIView):
    """The service is verified although nothing is deployed."""

    @described(
        operation_id="verify",
        request=VerificationRequest,
        responses={200: TriggerResponse, 409: RUNNING},
        parameters=[KEY_HEADER],
    )
    def post(self, request: Request) -> Response:
        """Verify the service from now on: for a feature flag, a change of configuration, or after an incident.

        What came before is compared with the window that begins now.
        """
        body = checked(VerificationRequest, request.data, request._request)
        trigger = Trigger(
            env=body["env"],
            idempotency_key=body["idempotency_key"] or None,
            facts=body["facts"],
            settle_s=body["settle_seconds"],
        )
        with refusals():
            started = verify(project_of(request), trigger)
        deployment = started.deployment
        notes = [*started.notes, *body["notes"]]
        return Response(trigger_answer(deployment.uuid, deployment.number, started.status, notes))


def add_pre_sample(request: Request, deployment: Deployment, answer: dict[str, Any]) -> None:
    """Add the state of the PRE sample; hold the answer until it is known, where the server can."""
    pk, key = deployment.pk, cast("ApiKey", request.auth).pk
    settled = settled_pre_sample(pk)
    seconds = MAX_WAIT_FOR_PRE_S if settled is None and can_hold(request) else 0.0
    pending = pending_pre_sample(seconds)
    answer["pre"] = asdict(settled or pending)

    def look(last: bool) -> Response | None:
        settled = settled_pre_sample(pk) if still_usable(key) else None
        return Response({**answer, "pre": asdict(settled or pending)}) if settled is not None or last else None

    if seconds:
        owner = f"project:{deployment.project_id}"
        hold(request, Answer((changes.deployment(pk),), seconds, owner, rendered(look)))


@limited(DEPLOYMENTS)
class FinishView(StrictAPIView):
    """A deployment is done."""

    @described(
        operation_id="finish",
        request=FinishRequest,
        responses={200: FinishResponse, 409: CONFLICT},
        parameters=[KEY_HEADER],
    )
    def post(self, request: Request) -> Response:
        """Finish a deployment: SeqPulse starts to observe the new version."""
        body = checked(FinishRequest, request.data, request._request)
        project, uuid = project_of(request), body["deployment_id"]
        how = {name: body[name] for name in ("result", "metrics_endpoint", "green")}
        with refusals():
            if uuid is not None:
                bind_contextvars(deployment_id=str(uuid))
                finished = finish_deployment(project, uuid, **how)
            else:
                finished = finish_named(project, body["env"], body["idempotency_key"], **how)
        return Response(finish_answer(finished.uuid, finished.status, finished.notes))

    @staticmethod
    def usual(content: Any, request: HttpRequest, key: SeenKey, counter: Counter) -> Usual | None:
        """Answer a usual call in one statement; return None where it cannot be one. Raises ValidationError."""
        body = checked(FinishRequest, content, request)
        if body["deployment_id"] is None or body["green"]:
            return None
        how = {"result": body["result"], "metrics_endpoint": body["metrics_endpoint"]}
        done = statements.finish(key, counter, body["deployment_id"], **how)
        if done is None:
            return None
        if done.uuid is None:
            return Usual(done.used)
        return Usual(done.used, finish_answer(done.uuid, "accepted", done.notes))
