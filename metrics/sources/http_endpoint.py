"""Collect from a metrics endpoint over HTTP, signed if the environment signs (docs/protocol.md)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any, NamedTuple

from common.matchers import Matcher
from explain.facts import Fact
from metrics.answers import first_lines
from metrics.formats import format_of
from metrics.payload import InvalidPayload, Metrics, parse_metrics
from metrics.signing import signed_headers
from outbound.endpoints import parse_endpoint
from outbound.fetcher import Fetcher, OutboundError, Response
from outbound.transfer import timed_out
from projects.units import OUR_UNITS, Units
from scheduler.registry import JobError
from security.encryption import Sealed

TIMEOUT_S = 5.0
MAX_BODY_BYTES = 64 * 1024
USER_AGENT = "SeqPulse/1"
# Answers that refuse a signature.
REFUSALS = (401, 403)
# Least rest of the 5 s for a second request.
LEAST_LEFT_S = 0.1

PLAIN_HEADERS = {"Accept": "application/json", "User-Agent": USER_AGENT}

Clock = Callable[[], datetime]
# Sends a request, as Fetcher.start does.
Start = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Configured:
    """A row of metric_sources: its configuration is decrypted only when it is asked.

    states: what the source keeps from one sample to the next, by group of instances.
    """

    pk: int
    kind: str
    config: Sealed
    states: Mapping[str, bytes] = field(default_factory=dict)


# The metrics, and whether the endpoint accepted only the secret from before a rotation.
Answered = tuple[Metrics, bool]


@dataclass(slots=True)  # not frozen, as metrics.payload.Metrics
class Endpoint:
    """What an environment is measured by: an endpoint to call, unless it has sources.

    hmac_secret: "" if requests are not signed.

    previous: the encrypted secret from before a rotation, used until `previous_until` if the endpoint refuses the new
    one; blocked: by the operators; units: of its answers; release: version and commit_sha of the deployment;
    since: when it was finished; custom_kinds: of the custom metrics of the policy, by name; control: see there;
    elsewhere: its URL is one of other instances than usual, which a call names; named_by_call: at an origin that no
    person configured: it gets neither signatures nor other credentials.
    """

    url: str
    project_id: str
    hmac_secret: str = ""
    previous: Sealed = field(default_factory=lambda: Sealed(""))
    previous_until: datetime | None = None
    blocked: bool = False
    environment_id: int = 0
    units: Units = OUR_UNITS
    sources: Sequence[Configured] = ()
    release: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    custom_kinds: Mapping[str, str] = field(default_factory=dict)
    control: "ControlGroup | None" = None
    elsewhere: bool = False
    named_by_call: bool = False

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    def in_grace(self, now: datetime) -> bool:
        """Return whether the previous secret may still be used."""
        until = self.previous_until
        return bool(self.hmac_secret and self.previous) and until is not None and now < until


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """How the instances of the old version are measured that run beside the new one.

    endpoint: None where they have none of their own; selector, treatment: of their series, and of the new version's.
    """

    endpoint: Endpoint | None
    selector: Sequence[Matcher] = ()
    treatment: Sequence[Matcher] = ()


class Answer(NamedTuple):
    """An answer of the endpoint, and whether it accepted only the secret from before a rotation."""

    response: Response
    with_previous: bool


class Question:
    """One question to an endpoint; `ended` is called once with its Answer or an exception.

    If the new secret is refused during the grace period of a rotation, the request is repeated at once with the
    previous one, within the same time limit.
    """

    __slots__ = ("begun", "ended", "endpoint", "now", "refused", "secret", "start", "timeout_s")

    def __init__(
        self,
        start: Start,
        endpoint: Endpoint,
        ended: Callable[[Answer | Exception], None],
        *,
        now: Clock,
        timeout_s: float | None = None,
    ) -> None:
        self.start, self.endpoint, self.ended, self.now = start, endpoint, ended, now
        self.timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
        self.begun = monotonic()
        self.refused: Response | None = None
        self.send(endpoint.hmac_secret, self.timeout_s)

    def send(self, secret: str, timeout_s: float) -> None:
        self.secret = secret
        self.start(self.endpoint.url, self.headers, self.answered, timeout_s=timeout_s, max_bytes=MAX_BODY_BYTES)

    def headers(self) -> dict[str, str]:
        """Return the headers of one sending: a nonce is valid once."""
        return request_headers(self.endpoint, self.secret, self.now())

    def answered(self, result: Response | Exception) -> None:
        try:
            final = self.final(result)
        except Exception as error:
            final = error
        if final is not None:
            self.ended(final)

    def final(self, result: Response | Exception) -> Answer | Exception | None:
        """Return the end of the question; None: the endpoint is asked again."""
        if isinstance(result, Exception):
            return result
        if self.refused is not None:
            return Answer(self.refused, False) if result.status in REFUSALS else Answer(result, True)
        if result.status not in REFUSALS or not self.endpoint.in_grace(self.now()):
            return Answer(result, False)
        left_s = self.timeout_s - (monotonic() - self.begun)
        if left_s < LEAST_LEFT_S:
            return timed_out(parse_endpoint(self.endpoint.url), self.timeout_s, "previous_secret")
        self.refused = result
        self.send(self.endpoint.previous.open(), left_s)
        return None


def request_headers(endpoint: Endpoint, secret: str, now: datetime) -> dict[str, str]:
    """Return the headers of a request, signed with this secret unless it is ""."""
    if not secret:
        return PLAIN_HEADERS
    return PLAIN_HEADERS | signed_headers(secret, url=endpoint.url, now=now, project_id=endpoint.project_id)


def collect(fetcher: Fetcher, endpoint: Endpoint, ended: Callable[[Answered | Exception], None], *, now: Clock) -> None:
    """Ask for one set of metrics; `ended` is called once, with a JobError for the endpoint's owner if there are none.

    now: gives the time that is signed.
    """
    try:
        check_may_be_asked(endpoint)
    except JobError as error:
        ended(error)
    else:
        Question(fetcher.start, endpoint, lambda answer: ended(collected(answer, endpoint)), now=now)


async def answer_of(fetcher: Fetcher, endpoint: Endpoint, *, now: Clock) -> Answered:
    """Ask for one set of metrics. Raises JobError."""
    future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

    def ended(result: Answered | Exception) -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    collect(fetcher, endpoint, ended, now=now)
    return await future


def collected(
    answer: Answer | Exception, endpoint: Endpoint, parse: Callable[[Response], Metrics] | None = None
) -> Answered | Exception:
    """Return the metrics of an answer, or why there are none. parse: reads them where they are not in our form."""
    if isinstance(answer, OutboundError):
        return JobError.of(named(answer), retry=answer.code != "blocked")
    if isinstance(answer, Exception):
        return answer
    response, with_previous = answer
    try:
        check_status(response, endpoint)
        metrics = parse_metrics(response.body, endpoint.units) if parse is None else parse(response)
        return metrics, with_previous
    except JobError as error:
        return JobError.of(error, retry=error.retry, answered=first_lines(response))
    except InvalidPayload as error:
        return JobError(error.reason, problem=error.fact, url=endpoint.url, answered=first_lines(response))
    except Exception as error:
        return error


def named(error: OutboundError) -> OutboundError:
    """Name the format of an answer that is too large to be metrics: exporters' answers usually are."""
    known = format_of(b"", str(error.fact.params.get("content_type", "")))
    if error.code != "too_large" or known not in ("prometheus", "openmetrics"):
        return error
    return OutboundError("too_large", host=error.fact.params["host"], problem=Fact(f"answer_is.{known}"))


def check_may_be_asked(endpoint: Endpoint) -> None:
    """Raise JobError if there is no endpoint, or it is blocked."""
    check_not_blocked(endpoint)
    if not endpoint.url:
        raise JobError("no_endpoint", retry=False)


def check_not_blocked(endpoint: Endpoint) -> None:
    """Raise JobError if the operators have blocked requests to this environment."""
    if endpoint.blocked:
        raise JobError("blocked_by_ops", url=endpoint.url or Fact("this_environment"), retry=False)


def check_status(response: Response, endpoint: Endpoint) -> None:
    """Raise JobError unless the endpoint answered 200."""
    status = response.status
    if status == 200:
        return
    if status in REFUSALS:
        code = "unauthorized" if endpoint.hmac_secret else "unauthorized_unsigned"
    elif 300 <= status < 400:
        code = "redirect"
    else:
        code = "http_5xx" if status >= 500 else "http_4xx"
    raise JobError(code, status=status, url=endpoint.url, retry=code != "unauthorized")
