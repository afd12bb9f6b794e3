"""The environment's own metrics endpoint, as one source of several (docs/protocol.md).

An environment without any source is asked in the same way, without a task (metrics/collecting.py).
"""

import asyncio

from django.utils.translation import gettext_lazy as _

from metrics.payload import Metrics
from metrics.sources.base import Asking, SourceConfig, SourceKind
from metrics.sources.http_endpoint import Answered, collect


class EndpointKind(SourceKind[SourceConfig]):
    name = "endpoint"
    label = _("metrics endpoint")
    config = SourceConfig

    async def read(self, config: SourceConfig, asking: Asking) -> Metrics:
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

        def ended(result: Answered | Exception) -> None:
            if future.done():
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        collect(asking.fetcher, asking.endpoint, ended, now=lambda: asking.now)
        metrics, _with_previous = await future
        return metrics
