"""Trying a metrics endpoint out, live: what a poller would get from it, told so that its owner can mend it.

Everything goes the poller's way: the same door, time limit, signature and reading of the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from explain.facts import Fact
from metrics.collecting import endpoint_of
from metrics.payload import InvalidPayload, Reading, read_metrics
from metrics.sources.http_endpoint import Endpoint, ask, check_may_be_asked, check_status, get
from outbound.addresses import AllowList, refusal
from outbound.fetcher import Fetcher, OutboundError, Response
from projects.models import Environment
from scheduler.queue import database_now
from scheduler.registry import JobError

# Which secret an endpoint accepted.
NEW, PREVIOUS = "new", "previous"
# Of an answer that is no set of metrics, so much is shown.
SHOWN_BYTES = 300


@dataclass(frozen=True, slots=True)
class Probe:
    """What an endpoint answered.

    code: "" where a poller would store a sample, else why not (the code of a collection that failed), with `problem` in
    words. status: of HTTP, None where no answer came; took_ms: of the request that counts. secret: which one was
    accepted (NEW, PREVIOUS), "" where none was or nothing was signed. unsigned: whether it answers requests
    without a signature, too; None where that was not tried. readings: its five metrics, as far as it has them.
    excerpt: the beginning of an answer that holds no metrics. withheld: whether that is kept back, because the address
    is not public: whoever may try endpoints out must not read what else answers inside a network.
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
    """Asks the URL as if it were the environment's endpoint. Takes up to 10 s; writes nothing."""
    begun, start = monotonic(), database_now()

    def now() -> datetime:
        return start + timedelta(seconds=monotonic() - begun)

    try:
        return asyncio.run(_probe(endpoint_of(environment, url), now))
    except ImproperlyConfigured:
        # Its secret, or in a time of grace the one before, was encrypted with a key that is gone.
        return Probe(url, signed=True, code="unreadable_secret", problem=Fact("unreadable_secret"))


async def _probe(endpoint: Endpoint, now: Callable[[], datetime]) -> Probe:
    found = Probe(endpoint.url, signed=bool(endpoint.hmac_secret))
    try:
        check_may_be_asked(endpoint)
    except JobError as error:
        return replace(found, code=error.code, problem=error.fact)
    fetcher = Fetcher(AllowList.parse(settings.SEQPULSE_OUTBOUND_ALLOW), max_connections=2, per_host=2, keep_alive=1)
    try:
        response, with_previous = await ask(fetcher, endpoint, now=now)
        secret = "" if not found.signed else PREVIOUS if with_previous else NEW
        found = read_answer(replace(found, status=response.status, took_ms=response.elapsed_ms), response, endpoint)
        if response.status != 200 or not found.signed:
            return found
        return replace(found, secret=secret, unsigned=await _answers_unsigned(fetcher, endpoint, now))
    except OutboundError as error:
        return replace(found, code=error.code, problem=error.fact)
    finally:
        await fetcher.aclose()


def read_answer(found: Probe, response: Response, endpoint: Endpoint) -> Probe:
    """What the answer says, or why a poller can make nothing of it."""
    try:
        check_status(response, endpoint)
        readings = read_metrics(response.body)
    except (JobError, InvalidPayload) as error:
        code = error.reason if isinstance(error, InvalidPayload) else error.code
        excerpt = _excerpt(response.body)
        withheld = bool(excerpt) and refusal(response.remote_ip, AllowList()) is not None
        return replace(found, code=code, problem=error.fact, excerpt="" if withheld else excerpt, withheld=withheld)
    wrong = [reading.problem for reading in readings if reading.problem]
    if wrong:
        found = replace(found, code="invalid_payload", problem=wrong[0])
    return replace(found, readings=readings)


async def _answers_unsigned(fetcher: Fetcher, endpoint: Endpoint, now: Callable[[], datetime]) -> bool | None:
    """Whether it gives its metrics away to everybody: then it checks no signature, whatever it is sent."""
    try:
        return (await get(fetcher, endpoint, "", now=now)).status == 200
    except OutboundError:
        return None


def _excerpt(body: bytes) -> str:
    """The beginning of the body as text that can be shown and stored."""
    text = body[:SHOWN_BYTES].decode("utf-8", "replace")
    shown = "".join(character if character.isprintable() else " " for character in text).strip()
    return shown + ("…" if len(body) > SHOWN_BYTES else "")
