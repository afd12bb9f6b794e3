"""Test a metrics endpoint, and report what a poller would get and what to fix.

It uses the same client, time limit, signature and parser as the poller.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from explain.facts import Fact
from metrics.answers import may_be_shown
from metrics.collecting import endpoint_of
from metrics.payload import InvalidPayload, Reading, read_metrics
from metrics.sources.http_endpoint import (
    TIMEOUT_S,
    Answer,
    Asking,
    Endpoint,
    check_may_be_asked,
    check_status,
    named,
    request_headers,
)
from outbound.addresses import AllowList
from outbound.fetcher import Fetcher, OutboundError, Response, result_of
from projects.models import Environment
from scheduler.queue import database_now
from scheduler.registry import JobError
from security.redaction import redact_foreign_text

# The secret that an endpoint accepted.
NEW, PREVIOUS = "new", "previous"
# Length of the excerpt of an answer without metrics.
SHOWN_BYTES = 300


@dataclass(frozen=True, slots=True)
class Probe:
    """Result of a test.

    code: "" if a poller would store a sample, else the code of the failed collection, explained by `problem`. status:
    of HTTP, None without an answer; took_ms: of the request that counts. secret: the accepted one (NEW, PREVIOUS), ""
    if none was, or the request was not signed. unsigned: whether requests without a signature are answered too; None if
    not tested. readings: its metrics, as far as present. excerpt: the beginning of an answer without metrics. withheld:
    whether the excerpt is hidden because the address is not public: tests must not reveal services inside a network.
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
        return asyncio.run(_probe(endpoint_of(environment, url), now))
    except ImproperlyConfigured:
        # Its secret, or the previous one, was encrypted with a key that is missing.
        return Probe(url, signed=True, code="unreadable_secret", problem=Fact("unreadable_secret"))


async def _probe(endpoint: Endpoint, now: Callable[[], datetime]) -> Probe:
    found = Probe(endpoint.url, signed=bool(endpoint.hmac_secret))
    try:
        check_may_be_asked(endpoint)
    except JobError as error:
        return replace(found, code=error.code, problem=error.fact)
    fetcher = Fetcher(AllowList.parse(settings.SEQPULSE_OUTBOUND_ALLOW), max_connections=2, per_host=2, keep_alive=1)
    try:
        answer: Answer = await result_of(lambda ended: Asking(fetcher, endpoint, ended, now=now))
        response, with_previous = answer
        secret = "" if not found.signed else PREVIOUS if with_previous else NEW
        found = read_answer(replace(found, status=response.status, took_ms=response.elapsed_ms), response, endpoint)
        if response.status != 200 or not found.signed:
            return found
        return replace(found, secret=secret, unsigned=await _answers_unsigned(fetcher, endpoint, now))
    except OutboundError as error:
        return replace(found, code=error.code, problem=named(error).fact)
    finally:
        await fetcher.aclose()


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


async def _answers_unsigned(fetcher: Fetcher, endpoint: Endpoint, now: Callable[[], datetime]) -> bool | None:
    """Return whether the endpoint answers unsigned requests, and so does not check signatures."""
    try:
        headers = request_headers(endpoint, "", now())
        return (await fetcher.get(endpoint.url, headers, timeout_s=TIMEOUT_S)).status == 200
    except OutboundError:
        return None


def _excerpt(body: bytes) -> str:
    """Return the beginning of the body as text that can be shown and stored."""
    text = redact_foreign_text(body[:SHOWN_BYTES].decode("utf-8", "replace"))
    shown = "".join(character if character.isprintable() else " " for character in text).strip()
    return shown + ("…" if len(body) > SHOWN_BYTES else "")
