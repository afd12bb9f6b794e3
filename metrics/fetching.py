"""The fetcher shared by all collections of a poller."""

import asyncio
import resource
import threading

from django.conf import settings

from outbound.addresses import AllowList
from outbound.fetcher import Fetcher

# At least the capacity of a poller (scheduler.poller.PollerOptions): a collection that waits for a connection loses
# part of its time limit. libcurl needs about 40 KB for each.
MAX_CONNECTIONS = 2000
# One host must not take all of them, although several projects may share one (a gateway).
PER_HOST = 500
KEEP_ALIVE = 1000
# Files that others open: PostgreSQL, the log, libraries, the event loop.
OTHER_FILES = 100

# The event loop of this thread and its fetcher: asked for each request.
_thread = threading.local()


def shared_fetcher() -> Fetcher:
    """Return the fetcher of the running event loop; it keeps connections and TLS sessions as long as the loop runs."""
    loop = asyncio.get_running_loop()
    if getattr(_thread, "loop", None) is not loop:
        connections = min(MAX_CONNECTIONS, max(open_file_limit() - OTHER_FILES, 16))
        _thread.fetcher = Fetcher(
            AllowList.parse(settings.SEQPULSE_OUTBOUND_ALLOW),
            max_connections=connections,
            per_host=min(PER_HOST, connections),
            keep_alive=min(KEEP_ALIVE, connections // 2),
        )
        _thread.loop = loop
    fetcher: Fetcher = _thread.fetcher
    return fetcher


def open_file_limit() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS + OTHER_FILES if soft == resource.RLIM_INFINITY else soft
