"""The environment's own metrics endpoint, as one source of several (docs/protocol.md).

An environment without any source is asked in the same way, without a task (metrics/collecting.py).
"""

from django.utils.translation import gettext_lazy as _

from metrics.payload import Metrics
from metrics.sources.base import Asking, SourceConfig, SourceKind
from metrics.sources.http_endpoint import answer_of


class EndpointKind(SourceKind[SourceConfig]):
    name = "endpoint"
    control = "endpoint"
    label = _("metrics endpoint")
    config = SourceConfig

    async def read(self, config: SourceConfig, asking: Asking) -> Metrics:
        metrics, _with_previous = await answer_of(asking.fetcher, asking.endpoint, now=lambda: asking.now)
        return metrics
