"""What a service sends by itself (metrics/pushed.py), as a source that can answer for the past."""

import asyncio
from datetime import datetime

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_lazy as _

from explain.facts import Fact
from metrics.payload import Metrics
from metrics.pushed import KIND, levels_between
from metrics.sources.base import Asking, Past, SourceConfig, SourceKind
from scheduler.database import DatabaseAway, DatabaseThread
from scheduler.registry import JobError


class PushKind(SourceKind[SourceConfig]):
    name = KIND
    label = _("pushed samples")
    config = SourceConfig
    ranged = True
    of_service = False

    async def read(self, config: SourceConfig, asking: Asking) -> Metrics:
        """Return what came in the interval before the instant."""
        step_s = settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS
        past = await _levels(config, asking, since=asking.instant, until=asking.instant, step_s=step_s)
        if not past:
            asking.told.append(Fact("nothing_pushed", {"seconds": step_s}))
        return past[-1][1] if past else Metrics()

    async def history(
        self, config: SourceConfig, asking: Asking, *, since: datetime, until: datetime, step_s: float
    ) -> Past:
        return await _levels(config, asking, since=since, until=until, step_s=step_s)


# Of this process. It keeps no connection while nothing is asked: the processes of the web hardly ever ask.
_thread = DatabaseThread()
_waiting = 0


async def _levels(config: SourceConfig, asking: Asking, *, since: datetime, until: datetime, step_s: float) -> Past:
    """Return levels_between, from a thread. Raises JobError."""
    global _waiting  # noqa: PLW0603  (of the event loop's thread alone)
    _waiting += 1
    try:
        async with asyncio.timeout(config.timeout_s):
            return await _thread(_read, asking.endpoint.environment_id, since, until, step_s)
    except (TimeoutError, DatabaseAway):
        raise JobError("pushed_not_read", seconds=config.timeout_s) from None
    finally:
        _waiting -= 1


def _read(environment_id: int, since: datetime, until: datetime, step_s: float) -> Past:
    try:
        return levels_between(environment_id, since=since, until=until, step_s=step_s)
    finally:
        if _waiting <= 1:
            connection.close()
