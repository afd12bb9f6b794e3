"""Test a metrics endpoint, and report what a poller would get and what to fix.

It uses the same guard, time limit, signature and parser as the poller.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from explain.facts import Fact
from metrics.answers import may_be_shown
from metrics.collecting import endpoint_of
from metrics.payload import METRICS, InvalidPayload, Reading, pid_of, read_metrics
from metrics.sources.http_endpoint import (
    MAX_BODY_BYTES,
    TIMEOUT_S,
    Answer,
    Endpoint,
    Question,
    check_may_be_asked,
    check_status,
    named,
    request_headers,
)
from outbound.addresses import AllowList
from outbound.session import call
from outbound.transfer import OutboundError, Response
from projects.models import Environment
from projects.policy import InvalidPolicy, policy_from_dict
from scheduler.queue import database_now
from scheduler.registry import JobError
from security.redaction import redact_foreign_text

# The secret that an endpoint accepted.
NEW, PREVIOUS = "new", "previous"
# Length of the excerpt of an answer without metrics.
SHOWN_BYTES = 300
# Until another worker process answers.
ASKED_AGAIN = 4


@dataclass(frozen=True, slots=True)
class Probe:
    """Result of a test.

    code: "" if a poller would store a sample, else the code of the failed collection, explained by `problem`. status:
    of HTTP, None without an answer; took_ms: of the request that counts. secret: the accepted one (NEW, PREVIOUS), ""
    if none was, or the request was not signed. unsigned: whether requests without a signature are answered too; None if
    not tested. readings: its metrics, as far as present. excerpt: the beginning of an answer without metrics. withheld:
    whether the excerpt is hidden because the address is not public: tests must not reveal services inside a network.
    unjudged: names of custom metrics that the policy does not have. processes: how many told each of itself alone.
    """

    url: str
    signed: bool
    code: str = ""
    problem: Fact | None = None
    status: int | None = None
    took_ms: float | None = None
    secret: str = ""
    unsigned: bool | None = None
    readings: list[Reading] = field(default_factory=list)
    unjudged: tuple[str, ...] = ()
    processes: int = 1
    excerpt: str = ""
    withheld: bool = False

    @property
    def works(self) -> bool:
        return not self.code


def probe(environment: Environment, url: str) -> Probe:
    """Call the URL as if it were the environment's endpoint. Takes up to 10 s; writes nothing."""
    begun, start = monotonic(), database_now()

    def now() -> datetime:
        return start + timedelta(seconds=monotonic() - begun)

    try:
        found = _probe(endpoint_of(environment, url), now)
        return replace(found, unjudged=_unjudged(environment, found.readings))
    except ImproperlyConfigured:
        # Its secret, or the previous one, was encrypted with a key that is missing.
        return Probe(url, signed=True, code="unreadable_secret", problem=Fact("unreadable_secret"))


def _unjudged(environment: Environment, readings: list[Reading]) -> tuple[str, ...]:
    """Return the custom metrics that the environment's policy does not name."""
    custom = [reading.name for reading in readings if reading.name not in METRICS]
    try:
        named_by_policy = {metric.name for metric in policy_from_dict(environment.policy).custom_metrics}
    except InvalidPolicy:
        return ()
    return tuple(name for name in custom if name not in named_by_policy)


def _probe(endpoint: Endpoint, now: Callable[[], datetime]) -> Probe:
    found = Probe(endpoint.url, signed=bool(endpoint.hmac_secret))
    try:
        check_may_be_asked(endpoint)
        response, with_previous = _ask(endpoint, now)
    except (JobError, OutboundError) as error:
        shown = named(error) if isinstance(error, OutboundError) else error
        return replace(found, code=error.code, problem=shown.fact)
    secret = "" if not found.signed else PREVIOUS if with_previous else NEW
    found = read_answer(replace(found, status=response.status, took_ms=response.elapsed_ms), response, endpoint)
    if found.works:
        found = replace(found, processes=_processes(endpoint, response, now))
    if response.status != 200 or not found.signed:
        return found
    return replace(found, secret=secret, unsigned=_answers_unsigned(endpoint, now))


def _processes(endpoint: Endpoint, response: Response, now: Callable[[], datetime]) -> int:
    """Return how many processes answer, of those that say which one they are: asked again a few times."""
    pids = {pid_of(response.body)} - {None}
    for _ in range(ASKED_AGAIN if pids else 0):
        try:
            pids |= {pid_of(_ask(endpoint, now, timeout_s=1).response.body)} - {None}
        except OutboundError:
            break
    return max(len(pids), 1)


def _ask(endpoint: Endpoint, now: Callable[[], datetime], *, timeout_s: float | None = None) -> Answer:
    """Return the endpoint's answer. Raises OutboundError."""
    ended: list[Answer | Exception] = []
    Question(_start, endpoint, ended.append, now=now, timeout_s=timeout_s)
    if isinstance(ended[0], Exception):
        raise ended[0]
    return ended[0]


def _start(
    url: str, headers: Callable[[], dict[str, str]], ended: Callable[[Response | Exception], None], **limits: Any
) -> None:
    """Do as Fetcher.start, but wait for the answer."""
    try:
        result: Response | Exception = _get(url, headers(), **limits)
    except Exception as error:  # handed on, as the fetcher does
        result = error
    ended(result)


def _get(
    url: str, headers: dict[str, str], *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_BODY_BYTES
) -> Response:
    allow = AllowList.parse(settings.SEQPULSE_OUTBOUND_ALLOW)
    answer = call("GET", url, allow=allow, headers=headers, deadline_s=timeout_s, most_bytes=max_bytes)
    return Response(answer.status, answer.body, answer.content_type, answer.elapsed_ms, answer.remote_ip)


def read_answer(found: Probe, response: Response, endpoint: Endpoint) -> Probe:
    """Return the result with the content of the answer, or why a poller cannot use it."""
    try:
        check_status(response, endpoint)
        readings = read_metrics(response.body, endpoint.units)
    except (JobError, InvalidPayload) as error:
        code = error.reason if isinstance(error, InvalidPayload) else error.code
        excerpt = _excerpt(response.body)
        withheld = bool(excerpt) and not may_be_shown(response)
        return replace(found, code=code, problem=error.fact, excerpt="" if withheld else excerpt, withheld=withheld)
    wrong = [reading.problem for reading in readings if reading.problem]
    if wrong:
        found = replace(found, code="invalid_payload", problem=wrong[0])
    return replace(found, readings=readings)


def _answers_unsigned(endpoint: Endpoint, now: Callable[[], datetime]) -> bool | None:
    """Return whether the endpoint answers unsigned requests, and so does not check signatures."""
    try:
        return _get(endpoint.url, request_headers(endpoint, "", now())).status == 200
    except OutboundError:
        return None


def _excerpt(body: bytes) -> str:
    """Return the beginning of the body as text that can be shown and stored."""
    text = redact_foreign_text(body[:SHOWN_BYTES].decode("utf-8", "replace"))
    shown = "".join(character if character.isprintable() else " " for character in text).strip()
    return shown + ("…" if len(body) > SHOWN_BYTES else "")
