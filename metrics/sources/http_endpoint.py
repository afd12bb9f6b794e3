"""The source that every client speaks: a metrics endpoint over HTTP, signed where the environment signs (WIRE §2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from metrics.payload import InvalidPayload, Metrics, parse_metrics
from metrics.signing import signed_headers
from outbound.fetcher import Fetcher, OutboundError, Response
from scheduler.registry import JobError
from security.encryption import Sealed

TIMEOUT_S = 5.0
MAX_BODY_BYTES = 64 * 1024
USER_AGENT = "SeqPulse/1"
# How an endpoint says that it does not accept a signature.
REFUSALS = (401, 403)
# Of the 5 s this much has to be left to ask once more.
LEAST_LEFT_S = 0.1

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is asked, and how: hmac_secret is "" where requests are not signed.

    previous: the secret from before a rotation, still sealed, tried until `previous_until` where the endpoint refuses
    the new one; blocked: ops have it not asked.
    """

    url: str
    project_id: str
    hmac_secret: str = ""
    previous: Sealed = field(default_factory=lambda: Sealed(""))
    previous_until: datetime | None = None
    blocked: bool = False

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    def in_grace(self, now: datetime) -> bool:
        """Whether the previous secret may still be tried."""
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
        raise JobError(error.reason, str(error), retry=error.reason not in ("blocked",)) from None
    check_status(response, endpoint)
    try:
        return parse_metrics(response.body), with_previous
    except InvalidPayload as error:
        raise JobError(error.code, f"{error} (from {endpoint.url})") from None


def check_may_be_asked(endpoint: Endpoint) -> None:
    """Raises JobError where there is nothing to ask, or ops do not want it asked."""
    if endpoint.blocked:
        words = f"the operators of SeqPulse have blocked requests to {endpoint.url or 'this environment'}: ask them why"
        raise JobError("blocked_by_ops", words, retry=False)
    if not endpoint.url:
        words = "this environment has no metrics endpoint: set one, or send metrics_endpoint with trigger"
        raise JobError("no_endpoint", words, retry=False)


async def ask(fetcher: Fetcher, endpoint: Endpoint, *, now: Clock) -> tuple[Response, bool]:
    """The endpoint's answer, and whether it took the previous secret: that is tried, at once and within the same 5 s,
    where the new one is refused while the grace time of a rotation lasts.

    Raises OutboundError.
    """
    begun = monotonic()
    response = await get(fetcher, endpoint, endpoint.hmac_secret, now=now)
    if response.status not in REFUSALS or not endpoint.in_grace(now()):
        return response, False
    left_s = TIMEOUT_S - (monotonic() - begun)
    if left_s < LEAST_LEFT_S:
        told = f"{endpoint.url} refused the new HMAC secret so late that no time was left to try the previous one"
        raise OutboundError("timeout", told)
    again = await get(fetcher, endpoint, endpoint.previous.open(), now=now, timeout_s=left_s)
    return (response, False) if again.status in REFUSALS else (again, True)


async def get(
    fetcher: Fetcher, endpoint: Endpoint, secret: str, *, now: Clock, timeout_s: float = TIMEOUT_S
) -> Response:
    """One request, signed with this secret unless it is "". Raises OutboundError."""

    def headers() -> dict[str, str]:
        # Asked again before a request is sent a second time: a nonce is good for one.
        plain = {"Accept": "application/json", "User-Agent": USER_AGENT}
        if not secret:
            return plain
        return plain | signed_headers(secret, url=endpoint.url, now=now(), project_id=endpoint.project_id)

    return await fetcher.get(endpoint.url, headers, timeout_s=timeout_s, max_bytes=MAX_BODY_BYTES)


def check_status(response: Response, endpoint: Endpoint) -> None:
    """Raises JobError unless the endpoint answered 200."""
    status = response.status
    if status == 200:
        return
    told = f"HTTP {status} from {endpoint.url}"
    if status in REFUSALS:
        if endpoint.hmac_secret:
            words = f"{told}: it refuses our signature. Compare the HMAC secret on both sides, and the clocks"
            raise JobError("unauthorized", words, retry=False)
        words = f"{told}: it asks for credentials. Turn signing on for this environment, or let it answer unsigned"
        raise JobError("unauthorized_unsigned", words)
    if 300 <= status < 400:
        raise JobError("redirect", f"{told}: redirects are not followed. Configure the address it leads to")
    raise JobError("http_5xx" if status >= 500 else "http_4xx", told)
