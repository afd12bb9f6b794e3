"""Calls that schemathesis makes up from the OpenAPI document: every answer is one that the document describes.

Status, content type, headers and body are checked, and 5xx never passes. `make fuzz` makes ten times as many calls.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import uuid4
from zlib import crc32

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import OperationalError, close_old_connections, connection, transaction
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema

from analysis.tests.factories import make_hint, make_verdict
from deployments.models import State
from deployments.tests.factories import make_deployment
from deployments.tests.pipeline import ENDPOINT
from projects.services import NewProject
from security.limits import Rate
from seqpulse.front import refusals

pytestmark = pytest.mark.django_db

# Made up at random, besides those that are derived from the document: every bound, missing field and odd method.
EXAMPLES = int(os.environ.get("SEQPULSE_FUZZ_EXAMPLES", "0"))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)


@dataclass
class Api:
    """A project with deployments in every state. ids: theirs, and one of none; judged: those that nobody waits for."""

    key: str
    ids: list[str]
    judged: list[str]

    def call(self, case: Any) -> None:
        """Call with a key, and check the answer. Three of four calls name what the project has: made up, no id, name or
        result ever is one.
        """
        choice = crc32(repr((case.path_parameters, case.query, case.body)).encode("utf-8", "backslashreplace"))
        one = choice // 16
        if choice % 4:
            if "uuid" in (case.path_parameters or {}):
                # A call that waits would hold the test.
                ids = self.judged if "wait" in (case.query or {}) else self.ids
                case.path_parameters["uuid"] = ids[one % len(ids)]
            if "name" in (case.path_parameters or {}):
                case.path_parameters["name"] = "prod"
            if isinstance(case.query, dict) and "env" in case.query:
                case.query["env"] = "prod"
                case.query.pop("wait", None)
            if isinstance(case.body, dict):
                if isinstance(case.body.get("metadata"), dict):
                    case.body["metadata"]["env"] = "prod"
                known = {"env": "prod", "result": "success", "deployment_id": self.ids[one % len(self.ids)]}
                known |= {"metrics_endpoint": (ENDPOINT, "https://other.example.com/metrics", "")[one % 3]}
                case.body.update({name: known[name] for name in known if isinstance(case.body.get(name), str)})
                case.body.update({name: False for name in ("wait_for_pre",) if name in case.body})
        with transaction.atomic():
            case.call_and_validate(headers={"X-API-Key": self.key if choice % 16 else "sp_unknown"})


@pytest.fixture
def api(made: NewProject) -> Iterator[Api]:
    environment = made.project.environments.get()
    deployments = {state: make_deployment(environment=environment, state=state) for state in State}
    make_verdict(deployments[State.ANALYZED])
    make_hint(deployments[State.ANALYZED])
    ids = {state: str(one.uuid) for state, one in deployments.items()}
    found = Api(made.api_key, [*ids.values(), str(uuid4())], [ids[State.ANALYZED], ids[State.SUPERSEDED]])
    # The WSGI application would close the connection of the test after each request.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    logging.disable(logging.CRITICAL)
    yield found
    logging.disable(logging.NOTSET)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def application(environ: Any, start_response: Any) -> Any:
    from seqpulse.wsgi import application as served  # noqa: PLC0415  (it runs the checks of a start)

    return served(environ, start_response)


DOCUMENT = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]


def schema() -> BaseSchema:
    """Return the document's calls, with those that are made up at random spread over them."""
    operations = sum(len(calls) for calls in DOCUMENT["paths"].values())
    config = {
        "generation": {
            "max-examples": (EXAMPLES or 2000) // operations,
            # In the tests, the same calls in each run.
            "deterministic": not EXAMPLES,
            "database": "none",
            "with-security-parameters": False,
        },
        "phases": {"coverage": {"generate-duplicate-query-parameters": True}},
        "checks": {"enabled": False} | {name: {"enabled": True} for name in CHECKS},
    }
    found = schemathesis.openapi.from_dict(DOCUMENT, config=schemathesis.Config.from_dict(config))
    found.app = application
    return found


made_up_calls = schema()


@made_up_calls.parametrize()
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_answer_is_described(case: Any, api: Api) -> None:
    api.call(case)


EVERYWHERE = ("400", "401", "405", "408", "429", "431", "503")


def test_the_errors_of_every_call_are_described() -> None:
    described = {
        (path, status)
        for path, calls in DOCUMENT["paths"].items()
        for call in calls.values()
        for status in call["responses"]
        if int(status) >= 400
    }
    every = {(path, status) for path in DOCUMENT["paths"] for status in EVERYWHERE}
    of_one = {(path, "404") for path in DOCUMENT["paths"] if "{uuid}" in path or "{name}" in path} | {
        ("/deployments/{uuid}/verdict", "409"),
        ("/deployments/{uuid}/rollback", "409"),
        ("/deployments/{uuid}/step", "409"),
        ("/gate", "409"),
        ("/deployments/trigger", "423"),
        ("/gate/flagger/confirm-rollout", "423"),
    }
    flagger = {f"/gate/flagger/{name}" for name in ("confirm-rollout", "confirm-promotion", "rollback")}
    posted = {"/deployments/trigger", "/deployments/finish", "/verifications", "/samples", *flagger}
    sources = {"/environments/{name}/sources", "/environments/{name}/sources/test"}
    with_body = (
        posted | sources | {f"/deployments/{{uuid}}/{name}" for name in ("acknowledgements", "rollback", "step")}
    )
    sent = {(path, status) for path in with_body for status in ("413", "415")}
    conflicts = {(path, "409") for path in posted - {"/gate/flagger/confirm-rollout"}}
    assert described == every | of_one | sent | conflicts
    # Those that the server in front of Django gives itself.
    assert {str(status) for status in refusals.ANSWERS} <= set(EVERYWHERE)


def test_what_no_made_up_call_meets_is_described_too(api: Api, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_args: Any) -> NoReturn:
        raise OperationalError("connection refused")

    operations = (one.ok() for one in made_up_calls.get_all_operations())
    trigger = next(one for one in operations if one.label == "POST /deployments/trigger")
    settings.SEQPULSE_RATE_LIMITS = True
    settings.SEQPULSE_RATES = dict.fromkeys(settings.SEQPULSE_RATES, Rate(2, 86400 * 365))

    def status_of(env: str) -> int:
        case = trigger.Case(body={"env": env}, media_type="application/json")
        answer = case.call(headers={"X-API-Key": api.key})
        case.validate_response(answer, excluded_checks=[not_a_server_error])
        return answer.status_code

    assert [status_of("prod"), status_of("x" * settings.SEQPULSE_API_BODY_MAX_BYTES), status_of("prod")] == [
        200,
        413,
        429,
    ]
    with monkeypatch.context() as patch:
        patch.setattr(connection, "ensure_connection", away)
        assert status_of("prod") == 503
