"""Collect from a metrics endpoint over HTTP, signed if the environment signs (docs/protocol.md)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

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

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint to call. hmac_secret: "" if requests are not signed.

    previous: the encrypted secret from before a rotation, used until `previous_until` if the endpoint refuses the new
    one; blocked: by the operators; units: of its answers.
    """

    url: str
    project_id: str
    hmac_secret: str = ""
    previous: Sealed = field(default_factory=lambda: Sealed(""))
    previous_until: datetime | None = None
    blocked: bool = False
    environment_id: int = 0
    units: Units = OUR_UNITS

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    def in_grace(self, now: datetime) -> bool:
        """Return whether the previous secret may still be used."""
        until = self.previous_until
        return bool(self.hmac_secret and self.previous) and until is not None and now < until


async def collect(fetcher: Fetcher, endpoint: Endpoint, *, now: Clock) -> tuple[Metrics, bool]:
    """Return one set of metrics, and whether the endpoint accepted only the secret from before a rotation.

    now: gives the time that is signed. Raises JobError with a message for the endpoint's owner.
    """
    check_may_be_asked(endpoint)
    try:
        response, with_previous = await ask(fetcher, endpoint, now=now)
    except OutboundError as error:
        raise JobError.of(named(error), retry=error.code != "blocked") from None
    try:
        check_status(response, endpoint)
        return parse_metrics(response.body, endpoint.units), with_previous
    except JobError as error:
        raise JobError.of(error, retry=error.retry, answered=first_lines(response)) from None
    except InvalidPayload as error:
        raise JobError(error.reason, problem=error.fact, url=endpoint.url, answered=first_lines(response)) from None


def named(error: OutboundError) -> OutboundError:
    """Name the format of an answer that is too large to be metrics: exporters' answers usually are."""
    known = format_of(b"", str(error.fact.params.get("content_type", "")))
    if error.code != "too_large" or known not in ("prometheus", "openmetrics"):
        return error
    return OutboundError("too_large", host=error.fact.params["host"], problem=Fact(f"answer_is.{known}"))


def check_may_be_asked(endpoint: Endpoint) -> None:
    """Raise JobError if there is no endpoint, or it is blocked."""
    if endpoint.blocked:
        raise JobError("blocked_by_ops", url=endpoint.url or Fact("this_environment"), retry=False)
    if not endpoint.url:
        raise JobError("no_endpoint", retry=False)


async def ask(fetcher: Fetcher, endpoint: Endpoint, *, now: Clock) -> tuple[Response, bool]:
    """Return the endpoint's answer, and whether it accepted only the previous secret.

    If the new secret is refused during the grace period of a rotation, the request is repeated at once with the
    previous one, within the same 5 s.

    Raises: OutboundError.
    """
    begun = monotonic()
    response = await get(fetcher, endpoint, endpoint.hmac_secret, now=now)
    if response.status not in REFUSALS or not endpoint.in_grace(now()):
        return response, False
    left_s = TIMEOUT_S - (monotonic() - begun)
    if left_s < LEAST_LEFT_S:
        raise timed_out(parse_endpoint(endpoint.url), TIMEOUT_S, "previous_secret")
    again = await get(fetcher, endpoint, endpoint.previous.open(), now=now, timeout_s=left_s)
    return (response, False) if again.status in REFUSALS else (again, True)


async def get(
    fetcher: Fetcher, endpoint: Endpoint, secret: str, *, now: Clock, timeout_s: float = TIMEOUT_S
) -> Response:
    """Send one request, signed with this secret unless it is "". Raises OutboundError."""

    def headers() -> dict[str, str]:
        # Called before each sending: a nonce is valid once.
        plain = {"Accept": "application/json", "User-Agent": USER_AGENT}
        if not secret:
            return plain
        return plain | signed_headers(secret, url=endpoint.url, now=now(), project_id=endpoint.project_id)

    return await fetcher.get(endpoint.url, headers, timeout_s=timeout_s, max_bytes=MAX_BODY_BYTES)


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
