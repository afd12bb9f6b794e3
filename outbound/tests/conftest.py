"""The clients that all hostile servers and addresses are tried on."""

from collections.abc import Callable
from typing import Any

import pytest

from outbound.tests.servers import CLIENTS


@pytest.fixture(params=list(CLIENTS))
def send(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return how to send one request with a client."""
    return CLIENTS[request.param]
