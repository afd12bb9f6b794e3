"""The source that every client speaks: a metrics endpoint over HTTP, signed where the environment signs (WIRE §2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from metrics.payload import InvalidPayload, Metrics, parse_metrics
from metrics.signing import signed_headers
from scheduler.registry import JobError
from security.outbound import Fetcher, OutboundError, Response

TIMEOUT_S = 5.0
MAX_BODY_BYTES = 64 * 1024
USER_AGENT = "SeqPulse/1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is asked, and how: hmac_secret is "" where requests are not signed."""

    url: str
    project_id: str
    hmac_secret: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"


async def collect(fetcher: Fetcher, endpoint: Endpoint, *, now: Callable[[], datetime]) -> Metrics:
    """One set of metrics. Raises JobError in words for the endpoint's owner; now: tells the time that is signed."""
    if not endpoint.url:
        raise JobError(
            "no_endpoint",
            "this environment has no metrics endpoint: set one, or send metrics_endpoint with trigger",
            retry=False,
        )

    def headers() -> dict[str, str]:
        # Asked again before a request is sent a second time: a nonce is good for one.
        plain = {"Accept": "application/json", "User-Agent": USER_AGENT}
        if not endpoint.hmac_secret:
            return plain
        signed = signed_headers(endpoint.hmac_secret, url=endpoint.url, now=now(), project_id=endpoint.project_id)
        return plain | signed

    try:
        response = await fetcher.get(endpoint.url, headers, timeout_s=TIMEOUT_S, max_bytes=MAX_BODY_BYTES)
    except OutboundError as error:
        raise JobError(error.reason, str(error), retry=error.reason not in ("blocked",)) from None
    check_status(response, endpoint)
    try:
        return parse_metrics(response.body)
    except InvalidPayload as error:
        raise JobError(error.code, f"{error} (from {endpoint.url})") from None


def check_status(response: Response, endpoint: Endpoint) -> None:
    """Raises JobError unless the endpoint answered 200."""
    status = response.status
    if status == 200:
        return
    told = f"HTTP {status} from {endpoint.url}"
    if status in (401, 403):
        if endpoint.hmac_secret:
            words = f"{told}: it refuses our signature. Compare the HMAC secret on both sides, and the clocks"
            raise JobError("unauthorized", words, retry=False)
        words = f"{told}: it asks for credentials. Turn signing on for this environment, or let it answer unsigned"
        raise JobError("unauthorized_unsigned", words)
    if 300 <= status < 400:
        raise JobError("redirect", f"{told}: redirects are not followed. Configure the address it leads to")
    raise JobError("http_5xx" if status >= 500 else "http_4xx", told)
