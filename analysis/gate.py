"""The gate for tools that know no deployment id (docs/protocol.md): by environment, and as Flagger's webhooks ask."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from analysis.api import MAX_RETRY_AFTER_S, WAIT_SCHEMA, WaitRequest, awaited_gate, stands
from analysis.one import Found, find
from analysis.serializers import MissingDeployment, NoVerdict, StandingVerdict
from common.listing import StrictAPIView
from common.openapi import described
from deployments.api import FROZEN, FrozenNow, sentences, unknown
from deployments.closing import earlier_attempt, why_closed
from deployments.latest import environment_named, latest_of
from deployments.models import NEVER_JUDGED, Deployment
from deployments.serializers import OptionalText
from deployments.services import EnvironmentFrozen, UnknownEnvironment
from explain.facts import Fact
from projects.authentication import ApiKeyAuthentication, Caller, looked_up, project_of, secret_in_metadata, secret_of
from projects.freezing import frozen
from projects.models import ApiKey, Environment, Project
from security.limits import DEPLOYMENTS, WEBHOOKS, limited

# A call that names neither commit nor version asks for a rollout of now: an older verdict is that of an earlier one.
MAX_AGE_S = 3600
LONGEST_AGE_S = 366 * 24 * 3600
COMMIT_LENGTH = Deployment._meta.get_field("commit_sha").max_length


class GateRequest(serializers.Serializer[Any]):
    """Which deployment is meant. max_age: seconds."""

    env = serializers.CharField(max_length=100)
    commit = OptionalText(max_length=255)
    version = OptionalText(max_length=255)
    max_age = serializers.IntegerField(min_value=1, max_value=LONGEST_AGE_S, required=False, allow_null=True)

    def validate_commit(self, value: str) -> str:
        # trigger stores as much of a longer one.
        return value[:COMMIT_LENGTH]


class PolledGateRequest(WaitRequest, GateRequest):
    pass


@dataclass(frozen=True, slots=True)
class Asked:
    """The deployment that a call means; None: there is none yet, and `notes` say so."""

    environment: Environment
    found: Found | None
    notes: tuple[Fact, ...] = ()


def asked_for(project: Project, query: dict[str, Any]) -> Asked:
    """Find the deployment of a validated GateRequest. Raises ValidationError for an unknown environment."""
    environment = environment_of(project, query)
    commit, version = query["commit"], query["version"]
    uuid = latest_of(environment, commit, version)
    found = find(project.pk, uuid) if uuid else None
    name = environment.name
    if found is None:
        which = " ".join(part for part in (commit, version) if part)
        code = "gate_no_deployment_of" if which else "gate_no_deployment"
        note = Fact(code, {"name": name, "which": which})
        return Asked(environment, None, (note, *freeze_note(environment, project)))
    most_s = query.get("max_age") or (None if commit or version else MAX_AGE_S)
    if most_s is not None and stands(found.deployment):
        at = found.deployment.verdict.created_at
        if timezone.now() - at > timedelta(seconds=most_s):
            number = found.deployment.number
            shown = {"name": name, "number": number, "at": at.isoformat(timespec="seconds"), "most": most_s}
            note = Fact("gate_too_old", shown)
            return Asked(environment, None, (note, *freeze_note(environment, project)))
    return Asked(environment, found)


def environment_of(project: Project, query: dict[str, Any]) -> Environment:
    try:
        return environment_named(project, query["env"])
    except UnknownEnvironment as error:
        raise unknown(error) from None


def freeze_note(environment: Environment, project: Project) -> tuple[Fact, ...]:
    """Return why no deployment can begin, where that is so: the next one will be refused."""
    found = frozen(environment, project.team_id)
    return (EnvironmentFrozen(found, environment.name).fact,) if found else ()


def nothing_yet(asked: Asked) -> Response:
    body = {
        "deployment_id": None,
        "state": None,
        "samples": {"collected": 0, "expected": 0},
        "message": sentences(asked.notes),
        "gate": "pending",
        "verdict": None,
        "verdict_due_at": None,
        "levels": {},
    }
    return Response(body, status=status.HTTP_202_ACCEPTED, headers={"Retry-After": str(MAX_RETRY_AFTER_S)})


@limited(DEPLOYMENTS)
class GateView(StrictAPIView):
    """The gate of an environment."""

    query_parameters = ("env", "commit", "version", "max_age", "wait")

    @described(
        operation_id="gate",
        parameters=[
            OpenApiParameter("env", str, required=True, description="Name of the environment."),
            OpenApiParameter("commit", str, description="The latest deployment of this commit."),
            OpenApiParameter("version", str, description="The latest deployment of this version."),
            OpenApiParameter(
                "max_age",
                {"type": "integer", "minimum": 1, "maximum": LONGEST_AGE_S},
                description="Seconds: an older verdict does not count. 3600 where neither commit nor version is named.",
            ),
            OpenApiParameter("wait", WAIT_SCHEMA, description="Hold the answer for up to so many seconds."),
        ],
        responses={
            200: StandingVerdict,
            202: OpenApiResponse(MissingDeployment, description="No verdict yet; Retry-After says when to ask again."),
            409: OpenApiResponse(NoVerdict, description="`abandoned`, `superseded`: there will be no verdict."),
        },
    )
    def get(self, request: Request) -> Response:
        """Return the verdict of the environment's latest deployment, as the gate by id does; 202 if there is none."""
        query = PolledGateRequest(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        asked = asked_for(project_of(request), query.validated_data)
        if asked.found is None:
            return nothing_yet(asked)
        return awaited_gate(request, asked.found, query.validated_data["wait"])


class FlaggerAuthentication(ApiKeyAuthentication):
    """Authenticate by metadata.key of the body, since Flagger sends no headers of its own; X-API-Key comes first."""

    def authenticate(self, request: Request) -> tuple[Caller, ApiKey] | None:
        if secret_of(request):
            return super().authenticate(request)
        secret = secret_in_metadata(request.data)
        if not secret:
            raise AuthenticationFailed("Send the API key of the project as metadata.key.", code="not_authenticated")
        key = looked_up(request._request, secret)
        if key is None:
            raise AuthenticationFailed("This API key is not known. Check metadata.key.")
        return self.used(key)


class FlaggerRequest(serializers.Serializer[Any]):
    """The body of Flagger's webhooks; metadata is what the Canary says, all of it text."""

    name = serializers.CharField(required=False, allow_blank=True)
    namespace = serializers.CharField(required=False, allow_blank=True)
    phase = serializers.CharField(required=False, allow_blank=True)
    metadata = GateRequest()


class NotGiven(APIException):
    """409: what Flagger asks for is not so. code: pending, passed, failed, superseded or abandoned."""

    status_code = status.HTTP_409_CONFLICT

    def __init__(self, code: str, gate: str, notes: tuple[Fact, ...]) -> None:
        super().__init__(sentences(notes), code=code)
        self.more = {"gate": gate}


class FlaggerAnswer(serializers.Serializer[Any]):
    gate = serializers.CharField()
    message = serializers.CharField()


class FlaggerView(StrictAPIView):
    """A webhook of Flagger. It reads the status alone, and takes 200, 201 and 202 for yes."""

    authentication_classes = (FlaggerAuthentication,)

    def asked(self, request: Request) -> tuple[Project, dict[str, Any]]:
        """Return the caller's project, and the GateRequest in metadata. Raises ValidationError."""
        body = FlaggerRequest(data=request.data)
        body.is_valid(raise_exception=True)
        return project_of(request), body.validated_data["metadata"]

    def if_gate_is(self, wanted: str, request: Request) -> Response:
        """Answer 200 where this is the gate of the deployment that the call means. Raises NotGiven."""
        gate, code, notes = reading(asked_for(*self.asked(request)))
        if gate != wanted:
            raise NotGiven(code, gate, notes)
        return Response({"gate": gate, "message": sentences(notes)})


NO = OpenApiResponse(description="No: `pending`, `passed`, `failed`, `superseded`, `abandoned`.")


@limited(WEBHOOKS)
class ConfirmRolloutView(FlaggerView):
    """May a rollout begin?"""

    @described(
        operation_id="flagger-confirm-rollout", request=FlaggerRequest, responses={200: FlaggerAnswer, 423: FROZEN}
    )
    def post(self, request: Request) -> Response:
        """Answer 200 unless deployments of the environment are frozen."""
        project, query = self.asked(request)
        return may_begin(project, environment_of(project, query))


@limited(WEBHOOKS)
class ConfirmPromotionView(FlaggerView):
    """May the canary be promoted?"""

    @described(
        operation_id="flagger-confirm-promotion", request=FlaggerRequest, responses={200: FlaggerAnswer, 409: NO}
    )
    def post(self, request: Request) -> Response:
        """Answer 200 if the gate is `pass`."""
        return self.if_gate_is("pass", request)


@limited(WEBHOOKS)
class RollbackView(FlaggerView):
    """Is the canary to be rolled back?"""

    @described(operation_id="flagger-rollback", request=FlaggerRequest, responses={200: FlaggerAnswer, 409: NO})
    def post(self, request: Request) -> Response:
        """Answer 200 if the gate is `fail`."""
        return self.if_gate_is("fail", request)


def may_begin(project: Project, environment: Environment) -> Response:
    """Answer whether a rollout may begin. Raises FrozenNow."""
    found = frozen(environment, project.team_id)
    if found is not None:
        raise FrozenNow(EnvironmentFrozen(found, environment.name))
    return Response({"gate": "pass", "message": sentences([Fact("gate_not_frozen", {"name": environment.name})])})


def reading(asked: Asked) -> tuple[str, str, tuple[Fact, ...]]:
    """Return the gate of the call's deployment, its code, and what to say of it."""
    if asked.found is None:
        return "pending", "pending", asked.notes
    deployment = asked.found.deployment
    if deployment.state in NEVER_JUDGED:
        return "none", str(deployment.state), (why_closed(deployment), *earlier_attempt(deployment))
    gate = deployment.verdict.gate if stands(deployment) else "pending"
    code = {"pass": "passed", "fail": "failed"}.get(gate, gate)
    note = Fact(f"gate_{gate}", {"number": deployment.number, "name": asked.environment.name})
    return gate, code, (note, *earlier_attempt(deployment))
