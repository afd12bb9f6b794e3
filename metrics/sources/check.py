"""Ask as a user does: journeys of HTTP steps, compared before and after a deployment (docs/sources.md)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext_lazy as _

from metrics.models import Group
from metrics.payload import Metrics
from metrics.sources.base import Asking, Expectation, SourceKind
from metrics.sources.check_config import CheckConfig, checks_of
from metrics.sources.journey import ask_journey

# Of a step.
SECRET = ("headers", "body")


def address(step: Mapping[str, Any]) -> tuple[Any, Any]:
    return step.get("method", "GET"), step.get("url")


class CheckKind(SourceKind[CheckConfig]):
    name = "check"
    label = _("check of pages, step by step")
    config = CheckConfig
    expects = True

    def expectations(self, config: CheckConfig) -> Sequence[Expectation]:
        return [check.about for step in config.steps for check in checks_of(config, step)]

    def home(self, data: Mapping[str, Any]) -> Any:
        steps = data.get("steps")
        first = steps[0] if isinstance(steps, list | tuple) and steps else {}
        return data.get("base_url") or (first.get("url") if isinstance(first, Mapping) else None)

    def addresses(self, config: CheckConfig) -> Iterator[tuple[str, str]]:
        if config.base_url:
            yield "base_url", config.base_url
        for place, step in enumerate(config.steps):
            if not step.url.startswith("/"):
                yield f"steps.{place}.url", step.url

    def with_nested_secrets(self, stored: Mapping[str, Any], data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep headers and bodies of steps that are sent to the same address by the same method."""
        if not isinstance(data.get("steps"), list | tuple) or stored.get("base_url") != data.get("base_url"):
            return data
        known = [dict(step) for step in stored.get("steps", ())]
        steps = []
        for step in data["steps"]:
            same = [one for one in known if isinstance(step, Mapping) and address(one) == address(step)]
            if same:
                known.remove(same[0])
            kept = {name: value for one in same[:1] for name, value in one.items() if name in SECRET}
            steps.append({**kept, **step} if kept else step)
        return {**data, "steps": steps}

    async def read(self, config: CheckConfig, asking: Asking) -> Metrics:
        # Nothing tells the instances of the old version from those of the new one.
        return await ask_journey(config, asking) if asking.group == Group.TREATMENT else Metrics()
