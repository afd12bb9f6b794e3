"""POST /v1/metrics: OTLP/HTTP metrics, as the SDKs and collectors of OpenTelemetry export them (docs/sources.md)."""

import json
import zlib
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.http import HttpResponse, UnreadablePostError
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response

from common.listing import StrictAPIView
from common.openapi import described
from deployments.services import ProjectArchived, UnknownEnvironment
from metrics.models import OtlpState
from metrics.otlp import (
    ENVIRONMENTS,
    INSTANCES,
    MOST_POINTS,
    Export,
    State,
    attributes_of,
    named,
    points_of,
)
from metrics.pushed import EARLY, LATE, kinds_of
from metrics.pushing import NotPushed, PushedValue, environment_named, take_samples
from projects.authentication import project_of
from projects.models import Environment, Project
from scheduler.queue import database_now
from security.limits import SAMPLES, limited

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MOST_BYTES = 4 * 1024 * 1024
# Codes of google.rpc.Status by status of HTTP.
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 9, 413: 8, 415: 3, 429: 8, 503: 14}


class TooLarge(APIException):
    status_code = 413
    default_code = "too_large"


def body_of(request: Request) -> bytes:
    """Return the body, inflated. Raises APIException."""
    try:
        body = request._request.body
    except RequestDataTooBig:
        raise TooLarge("The body is too large.") from None
    except UnreadablePostError:
        raise ParseError("The body did not arrive.") from None
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        inflated = body
    elif encoding == "gzip":
        try:
            stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
            inflated = stream.decompress(body, MOST_BYTES + 1)
        except zlib.error:
            raise ParseError("The body is not gzip.") from None
        if len(inflated) <= MOST_BYTES and not stream.eof:
            raise ParseError("The body is not complete.")
    else:
        raise UnsupportedMediaType(encoding, detail="Send the body as it is, or with gzip.")
    if len(inflated) > MOST_BYTES or len(body) > settings.SEQPULSE_API_BODY_MAX_BYTES * 2:
        raise TooLarge(f"The body is larger than {MOST_BYTES // 1024**2} MiB.")
    return inflated


def parsed(body: bytes, kind: str) -> Any:
    """Return the ExportMetricsServiceRequest. Raises APIException."""
    from google.protobuf import json_format  # noqa: PLC0415  (loads slowly, and few use it)
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2  # noqa: PLC0415

    message = metrics_service_pb2.ExportMetricsServiceRequest()
    try:
        if kind == JSON:
            json_format.Parse(body, message, ignore_unknown_fields=True)
        elif kind == PROTOBUF:
            message.ParseFromString(body)
        else:
            raise UnsupportedMediaType(kind, detail=f"Send {PROTOBUF} or {JSON}.")
    except (DecodeError, json_format.ParseError, ValueError, RecursionError):
        raise ParseError("The body is no ExportMetricsServiceRequest.") from None
    return message


def encoded(message: Any, kind: str, status: int = 200) -> HttpResponse:
    if kind == PROTOBUF:
        return HttpResponse(message.SerializeToString(), content_type=PROTOBUF, status=status)
    from google.protobuf import json_format  # noqa: PLC0415

    return HttpResponse(json_format.MessageToJson(message, indent=None), content_type=JSON, status=status)


def kind_of(request: Request) -> str:
    return (request.content_type or "").split(";")[0].strip().lower()


@limited(SAMPLES)
class OtlpMetricsView(StrictAPIView):
    """An exporter of OpenTelemetry sends metrics."""

    @described(exclude=True)
    def post(self, request: Request) -> HttpResponse:
        """Take what means something here; the answer counts the data points that were not taken."""
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2  # noqa: PLC0415

        kind = kind_of(request)
        message = parsed(body_of(request), kind)
        rejected, why = take_export(project_of(request), message, request.headers.get("X-SeqPulse-Env", ""))
        answer = metrics_service_pb2.ExportMetricsServiceResponse()
        if rejected:
            answer.partial_success.rejected_data_points = rejected
        if why:
            answer.partial_success.error_message = why
        return encoded(answer, kind)

    def handle_exception(self, exc: Exception) -> Any:
        """Return errors as google.rpc.Status, in the encoding of the request."""
        response = super().handle_exception(exc)
        body = getattr(response, "data", None) or {}
        message = str(body.get("detail", ""))
        code = CODES.get(response.status_code, 2)
        if kind_of(self.request) == PROTOBUF:
            content: bytes = status_message(code, message)
            return self.plain(response, content, PROTOBUF)
        return self.plain(response, json.dumps({"code": code, "message": message}).encode(), JSON)

    @staticmethod
    def plain(response: Response, content: bytes, kind: str) -> Any:
        found = HttpResponse(content, content_type=kind, status=response.status_code)
        for name in ("WWW-Authenticate", "Retry-After", "Allow"):
            if name in response.headers:
                found.headers[name] = response.headers[name]
        return found


def status_message(code: int, message: str) -> bytes:
    """Return google.rpc.Status in protobuf: its first field is the code, its second the message."""
    text = message.encode("utf-8", "backslashreplace")[:1000]
    length = bytes([len(text) % 128 + 128, len(text) // 128]) if len(text) > 127 else bytes([len(text)])
    return bytes([0x08, code, 0x12]) + length + text


def take_export(project: Project, message: Any, header: str) -> tuple[int, str]:
    """Store the samples of an export; return how many data points were not taken, and why."""
    rejected, reasons, points = 0, list[str](), 0
    for resource in message.resource_metrics:
        metrics = [metric for scope in resource.scope_metrics for metric in scope.metrics]
        count = sum(len(points_of(metric)) for metric in metrics)
        points += count
        attributes = attributes_of(resource.resource.attributes)
        env = header or named(attributes, ENVIRONMENTS)
        try:
            if points > MOST_POINTS:
                raise NotTaken(f"An export has at most {MOST_POINTS} data points.")
            if not env:
                raise NotTaken(
                    "Name the environment: resource attribute deployment.environment.name, or header X-SeqPulse-Env."
                )
            refused, why = take_resource(environment_named(project, env), named(attributes, INSTANCES), metrics)
        except (NotTaken, UnknownEnvironment, ProjectArchived, NotPushed) as error:
            refused, why = count, str(error)
        rejected += refused
        if why and why not in reasons:
            reasons.append(why)
    return rejected, " ".join(reasons[:3])


class NotTaken(ValueError):
    """What a resource sends is not taken."""


@transaction.atomic
def take_resource(environment: Environment, instance: str, metrics: Iterable[Any]) -> tuple[int, str]:
    """Store the sample of one instance. Returns the number of data points that were not taken, and why."""
    OtlpState.objects.get_or_create(environment_id=environment.pk, instance=instance)
    row = OtlpState.objects.select_for_update().get(environment_id=environment.pk, instance=instance)
    state = State(row.at, row.series)
    export = Export(state, kinds_of(environment.pk))
    for metric in metrics:
        export.add(metric)
    found = export.finish()
    OtlpState.objects.filter(environment_id=environment.pk, instance=instance).update(at=state.at, series=state.series)
    if found.at is None:
        return found.rejected, found.why
    if not -EARLY <= database_now() - found.at <= LATE:
        # Nothing of it is remembered either.
        raise NotTaken("The time is more than 10 minutes ago, or in the future: compare the clocks.")
    if not found.metrics.empty:
        take_samples(environment, [PushedValue(found.at, instance, found.metrics)])
    return found.rejected, found.why
