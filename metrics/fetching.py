"""The one fetcher that a poller's collections share."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from django.conf import settings

from security.addresses import AllowList
from security.outbound import Fetcher

_fetchers: WeakKeyDictionary[asyncio.AbstractEventLoop, Fetcher] = WeakKeyDictionary()


def shared_fetcher() -> Fetcher:
    """The fetcher of the running event loop: connections and TLS sessions are kept for as long as the loop runs."""
    loop = asyncio.get_running_loop()
    if loop not in _fetchers:
        _fetchers[loop] = Fetcher(allow=AllowList.parse(settings.SEQPULSE_OUTBOUND_ALLOW))
    return _fetchers[loop]
