"""The one fetcher that a poller's collections share."""

from __future__ import annotations

import asyncio
import resource
from weakref import WeakKeyDictionary

from django.conf import settings

from outbound.addresses import AllowList
from outbound.fetcher import Fetcher

# A poller has at most its capacity (scheduler.poller.PollerOptions) of collections under way: none of them is to wait
# here for a place, where it would lose its time. libcurl needs about 40 KB for each.
MAX_CONNECTIONS = 2000
# One host must not get all of them; several projects may share a host (a gateway), though.
PER_HOST = 500
KEEP_ALIVE = 1000
# What else has files open: PostgreSQL, the log, libraries, the event loop.
OTHER_FILES = 100

_fetchers: WeakKeyDictionary[asyncio.AbstractEventLoop, Fetcher] = WeakKeyDictionary()


def shared_fetcher() -> Fetcher:
    """The fetcher of the running event loop: connections and TLS sessions are kept for as long as the loop runs."""
    loop = asyncio.get_running_loop()
    fetcher = _fetchers.get(loop)
    if fetcher is None:
        connections = min(MAX_CONNECTIONS, max(open_file_limit() - OTHER_FILES, 16))
        fetcher = _fetchers[loop] = Fetcher(
            AllowList.parse(settings.SEQPULSE_OUTBOUND_ALLOW),
            max_connections=connections,
            per_host=min(PER_HOST, connections),
            keep_alive=min(KEEP_ALIVE, connections // 2),
        )
    return fetcher


def open_file_limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS + OTHER_FILES if soft == resource.RLIM_INFINITY else soft
