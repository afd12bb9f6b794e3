"""Ask as a user does: journeys of HTTP steps, compared before and after a deployment (docs/sources.md)."""

from collections.abc import Sequence

from django.utils.translation import gettext_lazy as _

from metrics.payload import Metrics
from metrics.sources.base import Asking, Expectation, SourceKind
from metrics.sources.check_config import CheckConfig, checks_of
from metrics.sources.journey import ask_journey


class CheckKind(SourceKind[CheckConfig]):
    name = "check"
    label = _("journey")
    config = CheckConfig
    expects = True

    def expectations(self, config: CheckConfig) -> Sequence[Expectation]:
        return [check.about for step in config.steps for check in checks_of(config, step)]

    async def read(self, config: CheckConfig, asking: Asking) -> Metrics:
        return await ask_journey(config, asking)
