"""Call the API and the simulated service over HTTP with JSON, as a pipeline does."""

from typing import Any

import requests

TIMEOUT_S = 30.0


class CallFailed(Exception):
    """A call got no answer, or an error."""


def call(method: str, url: str, body: dict[str, Any] | None = None, *, api_key: str = "") -> dict[str, Any]:
    """Send a request and return the JSON of a 2xx answer.

    Raises: CallFailed.
    """
    headers = {"X-API-Key": api_key} if api_key else {}
    with requests.Session() as session:
        session.trust_env = False  # loopback only: ignore proxies of the environment
        try:
            response = session.request(method, url, json=body, headers=headers, timeout=TIMEOUT_S)
            if not response.ok:
                raise CallFailed(f"{method} {url}: HTTP {response.status_code} {response.text[:500]}")
            answer: dict[str, Any] = response.json()
        except requests.RequestException as error:
            raise CallFailed(f"{method} {url}: {error}") from error
    return answer
