"""Count calls for django-ratelimit: cache backends with an atomic increment.

Django's database cache reads, adds and writes: of 400 concurrent calls it counted 114. These two backends only count.
Their keys contain the period, so a counter is never reset.
"""

import hashlib
import sys
import threading
import time
from functools import lru_cache
from typing import Any

import structlog
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connection

from common.database import prepared

logger = structlog.get_logger(__name__)

# Default lifetime of a counter.
KEPT_S = 3600
# After a failure Redis is not called for a while: each attempt would delay a caller.
REDIS_TIMEOUT_S = 0.5
REDIS_REST_S = 5.0


def counting(callers: str, table: str = "rate_counters") -> str:
    """Return SQL that counts a call per row of `callers`, and returns the new values.

    Values of the statement: `counter` (a key of the cache, "" to count nothing), `counter_kept_s`, `delta`.
    """
    return f"""INSERT INTO {table} AS counter (key, value, expires_at)
    SELECT %(counter)s, %(delta)s::int, now() + %(counter_kept_s)s::int * interval '1 second' FROM {callers}
    WHERE %(counter)s <> ''
    ON CONFLICT (key) DO UPDATE SET value = counter.value + excluded.value RETURNING value"""  # noqa: S608  (constants of callers)


class PostgresCounters(BaseCache):
    """Counters in one unlogged table (location: its name), shared by every process of every host."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.statement = counting("(VALUES (1)) AS call", connection.ops.quote_name(location))
        self.kept_s = KEPT_S

    def add(self, key: str, value: Any, timeout: Any = None, version: int | None = None) -> bool:
        """Remember the timeout only: incr creates and counts in one statement.

        Args:
            timeout: seconds to keep the counter that is incremented next. (Each thread has its own cache object.)
        """
        self.kept_s = timeout or KEPT_S
        return False

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Increment and return the count."""
        values = {"counter": key, "counter_kept_s": str(self.kept_s), "delta": str(delta)}
        [(count,)] = prepared(self.statement, values)
        return int(count)


@lru_cache
def redis_client(url: str) -> Any:
    """Return the client of the process, whose pool its threads share."""
    import redis  # noqa: PLC0415  (installed where REDIS_URL is set)

    return redis.Redis.from_url(url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S)


class RedisCounters(PostgresCounters):
    """Counters in Redis, or in PostgreSQL while Redis is unavailable: limits must hold without the cache."""

    away_until = 0.0

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(location, params)
        self.redis = redis_client(params["OPTIONS"]["redis_url"])

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Increment and return the count."""
        from redis import RedisError  # noqa: PLC0415  (installed where REDIS_URL is set)

        if time.monotonic() >= RedisCounters.away_until:
            try:
                with self.redis.pipeline(transaction=True) as pipeline:
                    pipeline.incrby(key, delta)
                    pipeline.expire(key, self.kept_s)
                    return int(pipeline.execute()[0])
            except (RedisError, OSError) as error:
                RedisCounters.away_until = time.monotonic() + REDIS_REST_S
                logger.warning("redis_away", error=str(error), counting_in="postgresql")
        return super().incr(key, delta, version)


def is_first_use(of: str, token: str, kept_s: int) -> bool:
    """Count a use of the token, over all processes; return whether it is the first one in kept_s seconds.

    of: what the token is for: tokens for different things are counted apart.
    """
    counters = caches["counters"]
    key = f"{of}|{hashlib.sha256(token.encode('utf-8', 'replace')).hexdigest()}"
    counters.add(key, 0, kept_s)
    return bool(counters.incr(key) == 1)


class LocalCounters:
    """Counters in the memory of this process, for while the shared ones cannot be written. Thread-safe.

    A caller gets the limit once in each process. Beyond `most` callers in a period the others count as over any limit,
    so that inventing callers neither grows the memory nor empties the counters.
    """

    def __init__(self, most: int = 50_000) -> None:
        self.most = most
        self.lock = threading.Lock()
        # By caller: the end of its period, in seconds since the epoch, and the calls in it.
        self.counts: dict[str, tuple[int, int]] = {}
        # When those whose period is over were last forgotten: a second run within a second would forget none.
        self.cleared_at = 0

    def incr(self, key: str, period_s: int) -> tuple[int, int]:
        """Count a call; return the calls in this period, and the period's end in seconds since the epoch."""
        now = int(time.time())
        with self.lock:
            end, count = self.counts.get(key, (0, 0))
            if end <= now:
                end, count = now + period_s, 0
                if len(self.counts) >= self.most and self.cleared_at != now:
                    self.counts = {other: each for other, each in self.counts.items() if each[0] > now}
                    self.cleared_at = now
                if len(self.counts) >= self.most:
                    return sys.maxsize, end
            self.counts[key] = (end, count + 1)
            return count + 1, end
