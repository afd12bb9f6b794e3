"""A metrics endpoint, as one source of several (docs/protocol.md), or JSON of another form; of one or more instances.

An environment without any source is asked in the same way, without a task (metrics/collecting.py).
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Self

from django.utils.translation import gettext_lazy as _
from pydantic import AfterValidator, Field, model_validator

from explain.facts import Fact
from metrics.payload import Metrics, parse_metrics
from metrics.sources.aggregation import aggregated
from metrics.sources.base import Asking, SourceKind, WrongSetting
from metrics.sources.http_endpoint import (
    MAX_BODY_BYTES,
    REFUSALS,
    Answer,
    Question,
    check_may_be_asked,
    check_not_blocked,
    collected,
)
from metrics.sources.instances import InstancesConfig, Target, ask_all, credentials_for, metric_name, targets_of
from metrics.sources.json_fields import JsonField, metrics_at
from outbound.fetcher import Response
from scheduler.registry import JobError

# Of JSON that is not ours, which may say a lot besides.
MAX_MAPPED_BYTES = 1024 * 1024
MOST_FIELDS = 35


class EndpointConfig(InstancesConfig):
    """Without url and targets the environment's own endpoint is asked, which a call may name: credentials need an
    address here. fields: of JSON that is not ours, where each metric stands.
    """

    fields: Annotated[dict[Annotated[str, AfterValidator(metric_name)], JsonField], Field(max_length=MOST_FIELDS)] = {}

    @model_validator(mode="after")
    def has_address_for_credentials(self) -> Self:
        if self.request_headers and not self.url and not self.targets:
            raise WrongSetting("config.credentials_need_url", field="url")
        return self

    @model_validator(mode="after")
    def has_possible_units(self) -> Self:
        for name, one in self.fields.items():
            try:
                one.check_unit(name)
            except WrongSetting as error:
                raise WrongSetting(error.code, field=f"fields.{name}.{error.field}", **error.fact.params) from None
        return self


class EndpointKind(SourceKind[EndpointConfig]):
    name = "endpoint"
    control = "endpoint"
    label = _("metrics endpoint")
    config = EndpointConfig

    async def read(self, config: EndpointConfig, asking: Asking) -> Metrics:
        if not (config.url or config.targets or asking.endpoint.elsewhere):
            check_may_be_asked(asking.endpoint)
            return await ask(Target(asking.endpoint.url), config, asking)
        check_not_blocked(asking.endpoint)
        targets = await targets_of(config, asking)
        asked = await ask_all(targets, lambda one: ask(one, config, asking), timeout_s=config.timeout_s)
        asked.check(asking)
        readings = [metrics for _, metrics in asked.given]
        return aggregated(readings, asking.endpoint.custom_kinds) if targets[0].single else readings[0]


async def ask(target: Target, config: EndpointConfig, asking: Asking) -> Metrics:
    """Ask one instance, with the signature of the environment if it signs. Raises JobError, OutboundError."""
    endpoint, credentials = replace(asking.endpoint, url=target.url), credentials_for(target, config, asking)
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def ended(result: Answer | Exception) -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def start(url: str, headers: Callable[[], dict[str, str]], answered: Any, **limits: Any) -> None:
        limits["max_bytes"] = MAX_MAPPED_BYTES if config.fields else MAX_BODY_BYTES
        asking.fetcher.start(
            url,
            lambda: {**headers(), **credentials},
            answered,
            gzip=True,
            ca_pem=config.ca_pem,
            to=target.to,
            **limits,
        )

    Question(start, endpoint, ended, now=lambda: asking.now, timeout_s=config.timeout_s)
    answer = await future
    if answer.response.status in REFUSALS and credentials:
        raise JobError("source_unauthorized", status=answer.response.status, url=target.shown, retry=False)
    told: list[Fact] = []

    def parse(response: Response) -> Metrics:
        if not config.fields:
            return parse_metrics(response.body, endpoint.units)
        metrics, problems = metrics_at(config.fields, response.body)
        told.extend(problems)
        return metrics

    result = collected(answer, endpoint, parse)
    if isinstance(result, Exception):
        raise result
    metrics, with_previous = result
    asking.told.extend(told)
    if with_previous:
        asking.told.append(Fact("previous_secret_only"))
    return metrics
