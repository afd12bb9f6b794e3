"""Call the API and the simulated service over HTTP with JSON, as a pipeline does."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

# Loopback only: ignore proxies of the environment.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TIMEOUT_S = 30.0


class CallFailed(Exception):
    """A call got no answer, or an error."""


def call(method: str, url: str, body: dict[str, Any] | None = None, *, api_key: str = "") -> dict[str, Any]:
    """Send a request and return the JSON of a 2xx answer.

    Raises: CallFailed.
    """
    headers = {"Content-Type": "application/json", **({"X-API-Key": api_key} if api_key else {})}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310  (our own addresses)
    try:
        with OPENER.open(request, timeout=TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise CallFailed(f"{method} {url}: HTTP {error.code} {error.read(500).decode(errors='replace')}") from error
    except (OSError, ValueError) as error:
        raise CallFailed(f"{method} {url}: {error}") from error
