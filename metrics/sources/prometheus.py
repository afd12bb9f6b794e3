"""Ask a Prometheus, or what answers as one (VictoriaMetrics, Thanos, Mimir): one expression per metric."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from pydantic import AfterValidator, Field, PrivateAttr

from common.matchers import narrowed
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.models import Group
from metrics.payload import MOST_INSTANCES, InvalidPayload, Metrics, metrics_of
from metrics.sources.base import Asking, HttpConfig, Past, SourceKind, Url, WrongSetting
from metrics.sources.prometheus_api import Answer, Api, Learned, Series, about_query, example_of
from outbound.endpoints import parse_endpoint
from scheduler.registry import JobError

DEFAULT_SCRAPE_INTERVAL_S = 15.0
# What people copy from their browser instead of the server's address.
PAGES = re.compile(r"(/api/v1(/(query|query_range|label.*|series|status.*))?|/graph|/query|/-/(ready|healthy))?/*$")
# Grafana's names for a range that fits the interval of scraping; here for the interval of sampling as well.
VARIABLES = re.compile(r"\$(__rate_interval|__interval|\{__rate_interval\}|\{__interval\})")
# rate() needs two samples: as many scrapes fit for sure, also where one of them comes late.
SCRAPES_PER_RANGE = 2.5
# Clocks that differ by less are taken as equal; by more, people are told.
CLOCK_S, TOLD_CLOCK_S = 2.0, 30.0
# An expression of this name counts the instances of the service.
INSTANCES = "instances"
# Servers refuse more points of a series than 11,000.
POINTS_AT_ONCE = 1000


def server_address(url: str) -> str:
    """Return the address in front of /api/v1."""
    if parse_endpoint(url).query:
        raise WrongSetting("config.url_query", example="https://prometheus.example")
    return PAGES.sub("", url)


Name = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=60)]
Expression = Annotated[str, Field(min_length=1, max_length=4096)]


class PrometheusServer(HttpConfig):
    """url: of the server, in front of /api/v1."""

    url: Annotated[Url, AfterValidator(server_address)]

    _learned: Learned = PrivateAttr(default_factory=Learned)

    @property
    def ahead_s(self) -> float:
        """Return by how much the server's clock is ahead of ours, 0 where that is unknown or little."""
        ahead_s = self._learned.ahead_s or 0.0
        return ahead_s if abs(ahead_s) >= CLOCK_S else 0.0


class PrometheusConfig(PrometheusServer):
    """expressions: PromQL by metric, in our units; scrape_interval_s: between two scrapes of the service.

    In expressions $__rate_interval stands for a range that fits that and the interval of sampling.
    """

    expressions: Annotated[dict[Name, Expression], Field(min_length=1, max_length=36)]
    scrape_interval_s: Annotated[float, Field(ge=0.1, le=600)] = DEFAULT_SCRAPE_INTERVAL_S

    @property
    def range_s(self) -> int:
        """Return the seconds for which $__rate_interval stands.

        Not longer than necessary: of the first sample after a deployment it must not reach into the time before.
        """
        return -int(-max(settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS, SCRAPES_PER_RANGE * self.scrape_interval_s) // 1)

    @property
    def filled(self) -> dict[str, str]:
        """Return the expressions as they are sent."""
        seconds = f"{self.range_s}s"
        return {name: VARIABLES.sub(seconds, query) for name, query in self.expressions.items()}

    def narrowed(self, asking: Asking) -> dict[str, str]:
        """Return the expressions as they are sent for the instances that are asked for.

        Of those without a selector in braces none where the control group is asked for: they would say the same of
        both groups. Raises JobError where it is none at all.
        """
        if not asking.matchers:
            return self.filled
        found = {name: narrowed(query, asking.matchers) for name, query in self.filled.items()}
        without = [name for name, query in found.items() if query is None]
        if asking.group == Group.TREATMENT:
            return {name: query or self.filled[name] for name, query in found.items()}
        if without:
            asking.told.append(Fact("control_not_selected", {"names": ", ".join(without)}))
        if len(without) == len(found):
            raise JobError("control_not_selected", names=", ".join(without), retry=False)
        return {name: query for name, query in found.items() if query is not None}


def api_of(config: PrometheusServer, asking: Asking) -> Api:
    return Api(asking.fetcher, config.url, config, config._learned, now=asking.now)


class PrometheusKind(SourceKind[PrometheusConfig]):
    name = "prometheus"
    label = _("Prometheus")
    config = PrometheusConfig
    ranged = True
    of_service = False
    control = "selector"

    async def read(self, config: PrometheusConfig, asking: Asking) -> Metrics:
        """Ask for the values of now, by the server's clock."""
        answers = await api_of(config, asking).ask("query", config.narrowed(asking), {})
        found: dict[str, float] = {}
        failures: list[ExplainedError] = []
        for name, answer in answers.items():
            try:
                points = one_series(name, answer).points
                if points:
                    found[name] = allowed(name, points[0][1])
            except ExplainedError as error:
                failures.append(error)
        if failures and not found:
            # What is wrong with the server is no fault of an expression.
            raise next(
                (one for one in answers.values() if isinstance(one, ExplainedError) and not about_query(one)),
                failures[0],
            )
        asking.told.extend(error.fact for error in failures)
        if abs(config.ahead_s) > TOLD_CLOCK_S:
            asking.told.append(Fact("source_clock", {"seconds": round(config.ahead_s)}))
        return as_metrics(found)

    async def history(
        self, config: PrometheusConfig, asking: Asking, *, since: datetime, until: datetime, step_s: float
    ) -> Past:
        """Ask for the values at since, a step later, and so on; at these times of ours, by the server's clock."""
        api = api_of(config, asking)
        if config._learned.ahead_s is None:
            await api.data("query", {"query": "time()"})
        ahead_s = config.ahead_s
        step = timedelta(seconds=step_s)
        times: dict[int, dict[str, float]] = {}
        begin, number = since, 0
        while begin <= until:
            points = min(int((until - begin) / step) + 1, POINTS_AT_ONCE)
            start_s = begin.timestamp() + ahead_s
            span = {"start": f"{start_s:.3f}", "end": f"{start_s + (points - 1) * step_s:.3f}", "step": f"{step_s:.3f}"}
            for name, answer in (await api.ask("query_range", config.narrowed(asking), span, points)).items():
                for at, value in past_points(name, answer):
                    times.setdefault(number + round((at - start_s) / step_s), {})[name] = value
            begin, number = begin + points * step, number + points
        return [(since + place * step, as_metrics(times[place])) for place in sorted(times)]


def as_metrics(values: Mapping[str, float]) -> Metrics:
    """Return values by the names of their expressions as a sample."""
    known = dict(values)
    instances = round(known.pop(INSTANCES, 0))
    return metrics_of(known, instances=min(instances, MOST_INSTANCES) if instances > 0 else None)


def one_series(name: str, answer: Answer) -> Series:
    """Return the only series of an answer, an empty one where there is none. Raises ExplainedError."""
    if isinstance(answer, ExplainedError):
        raise named(name, answer)
    if len(answer) > 1:
        example = min(example_of(one.labels) for one in answer)
        raise JobError("expression.series", name=name, n=len(answer), example=example, retry=False)
    return answer[0] if answer else Series({}, ())


def named(name: str, error: ExplainedError) -> JobError:
    """Return the failure of one expression, naming its metric."""
    params = error.fact.params
    if error.code == "source_refuses":
        return JobError("expression.refused", name=name, text=params["text"], retry=False)
    if error.code == "too_large":
        problem = params.get("problem")
        size = problem.params.get("bytes", 0) if isinstance(problem, Fact) else 0
        return JobError("expression.too_many", name=name, bytes=size, retry=False)
    if error.code.startswith("expression."):
        return JobError.of(error, name=name, retry=False)
    return JobError("expression.failed", name=name, problem=error.fact, retry=getattr(error, "retry", True))


def allowed(name: str, value: float) -> float:
    """Return a metric's value. Raises JobError for one that it cannot have."""
    try:
        metrics_of({name: value})
    except InvalidPayload as error:
        about: Mapping[str, object] = error.fact.params
        raise JobError(
            "expression.not_allowed", name=name, number=value, allowed=str(about["allowed"]), retry=False
        ) from None
    return value


def past_points(name: str, answer: Answer) -> Sequence[tuple[float, float]]:
    """Return the points of an expression that can be used: none where it fails, as reading says."""
    try:
        points = one_series(name, answer).points
    except ExplainedError:
        return ()
    found = []
    for at, value in points:
        try:
            found.append((at, allowed(name, value)))
        except ExplainedError:
            continue
    return found
