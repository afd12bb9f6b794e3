"""Single calls with `requests`: `call`. Its transport adapter has no guard yet: nothing may be sent with it."""

from collections.abc import Mapping
from typing import NamedTuple

import requests

from outbound.transfer import OutboundError


class Answer(NamedTuple):
    """The answer to a call. headers: names in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def call(
    method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", deadline_s: float, most_bytes: int
) -> Answer:
    """Send one request and return its answer, whatever its status. Raises OutboundError."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.request(
                method, url, headers=dict(headers), data=body, timeout=deadline_s, allow_redirects=False
            )
        except requests.RequestException as error:
            raise OutboundError("broken_sending") from error
        return Answer(answer.status_code, answer.headers, answer.content[:most_bytes])
