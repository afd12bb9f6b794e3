"""Scrape what a service shows to a Prometheus, and compute metrics from two scrapes of each instance.

The counters of the last scrape are kept with the source (metrics/storing.py), whichever poller took it. Where there are
none that can be used, such as the first time, of an instance that has just begun, or from before a deployment, the
instance is scraped twice within the same job.
"""

import asyncio
import json
import math
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import translate
from functools import partial
from hashlib import blake2b
from itertools import islice
from time import monotonic
from typing import Annotated, Literal, Self

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.answers import first_lines
from metrics.formats import format_of
from metrics.payload import Metrics, metrics_of
from metrics.sources.aggregation import together, way_of
from metrics.sources.base import Asking, SourceKind, WrongSetting
from metrics.sources.exposition import Exposition, InvalidExposition, labels_of, read
from metrics.sources.http_endpoint import USER_AGENT, check_not_blocked
from metrics.sources.instances import InstancesConfig, Target, ask_all, credentials_for, metric_name, targets_of
from metrics.sources.prometheus import allowed
from metrics.sources.prometheus_templates import STATUS, TEMPLATES, Template, other_templates
from metrics.sources.promql import Buckets, NotPromQL, Query, Selection, Value, parsed, quoted
from outbound.fetcher import Response
from scheduler.registry import JobError

MAX_BODY_BYTES = 8 * 1024 * 1024
# Of which the reading takes so long that others should not wait for it.
LARGE_BYTES = 256 * 1024
HEADERS = {
    "Accept": "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.9, text/plain;q=0.5, */*;q=0.1",
    "User-Agent": USER_AGENT,
}
# Counters of longer ago say nothing about now, and differences of less time hardly anything.
OLDEST = timedelta(minutes=15)
LEAST_S = 0.5
# Times of starts that differ by less are the same: some compute them anew each time.
SAME_START_S = 2.0
# Between two scrapes within one job.
PAUSE_S = 5.0
# Counters of all instances that are kept each for itself; of more, their sums are.
MOST_KEPT = 4000
MOST_OWN = 35
# Of a family, how many series are looked at to find the label that has their status.
LOOKED_AT = 500
# Of families in a message.
MOST_NAMED, LONGEST_NAMES = 5, 200
COUNTERS = re.compile(r".*_(total|count|sum|bucket)")

Family = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:.]*$", max_length=200)]
OptionalFamily = Annotated[str, Field(pattern=r"^([a-zA-Z_:][a-zA-Z0-9_:.]*)?$", max_length=200)]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_.]*$", max_length=200)]


def checked_condition(text: str) -> str:
    if text.count("*") > 10:
        raise WrongSetting("config.many_stars", most=10)
    return text


# The value that a label has to have: * stands for any text, ? for any sign, | separates several, a leading ! negates.
Condition = Annotated[str, Field(max_length=200), AfterValidator(checked_condition)]
Labels = Annotated[dict[LabelName, Condition], Field(max_length=20)]


class OwnMetric(BaseModel):
    """How a metric is computed from a family of the service.

    kind: rate (per second, of a counter), gauge, ratio (of `family` in `over`, which is the same family unless given)
    or quantile (of a histogram); labels: which series; over_labels: which series of `over`; aggregate: what makes one
    value of the gauges of one instance; scale: what makes our unit of it (ms, ratio, requests per second). A quantile
    of latency is taken for seconds, unless its name says milliseconds or a scale is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    family: Family
    kind: Literal["rate", "gauge", "ratio", "quantile"]
    labels: Labels = {}
    over: OptionalFamily = ""
    over_labels: Labels = {}
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.95
    aggregate: Literal["sum", "avg", "max", "min"] = "sum"
    scale: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None

    @model_validator(mode="after")
    def has_whole(self) -> Self:
        if self.kind == "ratio" and not self.over and not self.labels:
            raise WrongSetting("config.ratio_of_all", field="over")
        if self.kind != "ratio" and (self.over or self.over_labels):
            raise WrongSetting("config.over_of_no_ratio", field="over")
        return self

    def query(self, name: str) -> str:
        """Return the query that computes it, for the metric of this name."""
        scale, family, labels = self.scale, self.family, selector(self.labels)
        if self.kind == "quantile":
            base = family.removesuffix("_bucket")
            if scale is None:
                scale = 1000.0 if name == "latency_p95" and not base.endswith(("_milliseconds", "_ms")) else 1.0
            found = f"histogram_quantile({self.quantile:f}, sum by (le) (rate({base}_bucket{{{labels}}}[1m])))"
        elif self.kind == "rate":
            found = f"sum(rate({family}{{{labels}}}[1m]))"
        elif self.kind == "gauge":
            found = f"{self.aggregate}({family}{{{labels}}})"
        else:
            over = self.over or family
            parts = [f"{family}{{{labels}}}", f"{over}{{{selector(self.over_labels)}}}"]
            if COUNTERS.fullmatch(family):
                parts = [f"rate({part}[1m])" for part in parts]
            found = f"(sum({parts[0]}) or vector(0)) / sum({parts[1]})"
        return found if scale in (None, 1.0) else f"{scale:.17f} * {found}"


class OpenMetricsConfig(InstancesConfig):
    """labels: of the series to look at, where there are those of several services; metrics: how to compute those that
    no template knows, by name; pause_s: between two scrapes within one job.
    """

    labels: Labels = {}
    metrics: Annotated[dict[Annotated[str, AfterValidator(metric_name)], OwnMetric], Field(max_length=MOST_OWN)] = {}
    pause_s: Annotated[float, Field(ge=LEAST_S, le=30)] = PAUSE_S

    @model_validator(mode="after")
    def has_place(self) -> Self:
        if not self.url and not self.targets:
            raise WrongSetting("config.url_or_targets", field="url")
        return self


def selector(labels: Mapping[str, str]) -> str:
    """Return the conditions as PromQL writes them."""
    return ", ".join(f"{name}{condition(text)}" for name, text in labels.items())


def condition(text: str) -> str:
    negated = text.startswith("!")
    text = text[1:] if negated else text
    if not set(text) & set("*?|"):
        return ("!=" if negated else "=") + quoted(text)
    # Of its special signs [ is none here.
    pattern = "|".join(translate(part.replace("[", "[[]")) for part in text.split("|"))
    return ("!~" if negated else "=~") + quoted(pattern)


# ------------------------------------------------------------------------------------------------- scrapes and counters


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of an instance. at: its time, in s since 1970."""

    at: float
    exposition: Exposition


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of an instance at a time, by a hash of their series. start: of the process; both in s since 1970."""

    at: float
    values: Mapping[str, float]
    start: float | None = None


@dataclass(slots=True)
class Instance:
    """What an instance gave: its gauges and counters by selection, and its counters before, None where not usable.

    empty: selections of families that it has, without any series; twice: names of series that come twice; start: see
    Counters.
    """

    target: Target
    at: float
    values: dict[Selection, dict[str, tuple[bytes | None, float]]]
    before: Counters | None = None
    empty: Collection[Selection] = ()
    twice: Collection[str] = ()
    start: float | None = None

    @property
    def counters(self) -> dict[str, float]:
        """Return all counters, which the next scrape is compared with."""
        found: dict[str, float] = {}
        for selection, series in self.values.items():
            if selection.is_rate:
                found.update((key, value) for key, (_bound, value) in series.items())
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """How metrics are computed. summed: only sums of counters are kept, because there are so many."""

    queries: Mapping[str, Query]
    summed: bool = False

    @property
    def selections(self) -> list[Selection]:
        return list(dict.fromkeys(one for query in self.queries.values() for one in query.selections))

    @property
    def mark(self) -> str:
        """Return what distinguishes counters that are comparable with those of this plan."""
        return hashed(repr((sorted(repr(one) for one in self.selections if one.is_rate), self.summed)).encode())


def hashed(text: bytes) -> str:
    return blake2b(text, digest_size=6).hexdigest()


@dataclass(slots=True)
class Memory:
    """The counters of the last scrapes, by instance, and of which plan they are."""

    mark: str = ""
    instances: dict[str, Counters] = field(default_factory=dict)

    @classmethod
    def of(cls, state: bytes) -> Self:
        """Read what was stored; what another version stored is forgotten."""
        try:
            found = json.loads(zlib.decompress(state)) if state else {}
            instances = {key: Counters(*values) for key, values in found.get("instances", {}).items()}
            return cls(found.get("mark", ""), instances)
        except (ValueError, TypeError, AttributeError, zlib.error):
            return cls()

    def stored(self) -> bytes:
        instances = {key: (one.at, one.values, one.start) for key, one in self.instances.items()}
        return zlib.compress(json.dumps({"mark": self.mark, "instances": instances}, separators=(",", ":")).encode())


def gathered(
    selection: Selection, exposition: Exposition, twice: set[str], *, summed: bool
) -> dict[str, tuple[bytes | None, float]]:
    """Return the selected series by what distinguishes them: their bound, where they are buckets, and value.

    Of a series that comes twice the first is taken, and its name added to `twice`. Raises InvalidExposition.
    """
    accepted: dict[bytes, bool] = {}
    if summed and selection.is_rate and selection.aggregation == "sum":
        sums = summed_by_bound(selection, exposition)
        name = repr(selection).encode()
        return {hashed(name + b"|" + (bound or b"")): (bound, value) for bound, value in sums.items()}
    found: dict[str, tuple[bytes | None, float]] = {}
    name = selection.name.encode()
    for labels, bound, value in exposition.series(selection.name):
        if labels not in accepted:
            accepted[labels] = accepts(selection, labels)
        if accepted[labels] and math.isfinite(value):
            key = hashed(b"%s{%s}%s" % (name, labels, bound or b""))
            if key in found:
                twice.add(selection.name)
            else:
                found[key] = (bound, value)
    return found


def summed_by_bound(selection: Selection, exposition: Exposition) -> Mapping[bytes | None, float]:
    """Return the sums of the selected series, by the bounds of buckets. Raises InvalidExposition."""
    fast = exposition.sums_by_bound(selection.name) if selection.by_bucket and not selection.matchers else None
    if fast is not None:
        return fast
    accepted: dict[bytes, bool] = {}
    sums: dict[bytes | None, float] = {}
    for labels, bound, value in exposition.series(selection.name):
        if labels not in accepted:
            accepted[labels] = accepts(selection, labels)
        if accepted[labels] and math.isfinite(value):
            sums[bound] = sums.get(bound, 0.0) + value
    return sums


def accepts(selection: Selection, text: bytes) -> bool:
    if not selection.matchers:
        return True
    labels = labels_of(text)
    return all(one.accepts(labels.get(one.label, "")) for one in selection.matchers)


# ----------------------------------------------------------------------------------------------------- what is computed


def plan_of(config: OpenMetricsConfig, scrapes: Sequence[Scrape]) -> Plan:
    """Choose how to compute each metric: as configured, else by the first template whose families are there."""
    queries = {name: parsed(own.query(name)) for name, own in config.metrics.items()}
    known = {name for one in scrapes for name in one.exposition.names}
    for template in (*TEMPLATES, *other_templates(known)):
        family = template.family(known)
        if family is None:
            continue
        status = status_label(template, family, scrapes)
        for name, query in template.expressions(known, selector(config.labels), status).items():
            if name not in queries:
                try:
                    queries[name] = parsed(query)
                except NotPromQL:  # of native histograms, which only protobuf has
                    continue
    names = {one.name for query in queries.values() for one in query.selections if one.is_rate}
    counted = sum(len(one.exposition.rests.get(name, ())) for one in scrapes for name in names)
    return Plan(queries, counted > MOST_KEPT)


def status_label(template: Template, family: str, scrapes: Sequence[Scrape]) -> str | None:
    """Return the label of a family that has the status of requests."""
    for label in template.statuses:
        for one in scrapes:
            with suppress(InvalidExposition):  # of which the instance is told
                for text, _bound, _value in islice(one.exposition.series(family), LOOKED_AT):
                    if STATUS.fullmatch(labels_of(text).get(label, "")):
                        return label
    return None


def increase(key: str, value: float, before: Counters) -> float:
    """Return by how much a counter has grown: from 0 where it is new, or has begun again."""
    earlier = before.values.get(key, 0.0)
    return value - earlier if value >= earlier else value


def select(instances: Sequence[Instance], selection: Selection) -> Value | Buckets:
    """Return what a selection gives of these instances together."""
    values: list[tuple[bytes | None, float]] = []
    for one in instances:
        series = one.values.get(selection, {})
        if not selection.is_rate:
            values += series.values()
        elif one.before is not None:
            seconds = one.at - one.before.at
            values += [(bound, increase(key, value, one.before) / seconds) for key, (bound, value) in series.items()]
    if selection.by_bucket:
        buckets: dict[float, float] = {}
        for bound, value in values:
            if bound is not None:
                upper = number(bound)
                buckets[upper] = buckets.get(upper, 0.0) + value
        return buckets
    amounts = [value for _, value in values]
    if not amounts:
        # A service that has had no request yet has no series of requests either.
        nothing_yet = selection.is_rate and not selection.matchers and any(selection in one.empty for one in instances)
        return 0.0 if nothing_yet else None
    match selection.aggregation:
        case "sum":
            return math.fsum(amounts)
        case "avg":
            return math.fsum(amounts) / len(amounts)
        case _:
            return max(amounts) if selection.aggregation == "max" else min(amounts)


def number(bound: bytes) -> float:
    try:
        return float(bound)
    except ValueError:
        return math.nan


def most_bytes_of(targets: Sequence[Target]) -> int:
    """Return how much each instance may answer, so that all of them fit into memory."""
    return max(MAX_BODY_BYTES // 8, min(MAX_BODY_BYTES, 4 * MAX_BODY_BYTES // len(targets)))


class Scraping:
    """The scrapes of one sample."""

    def __init__(self, config: OpenMetricsConfig, asking: Asking, most_bytes: int) -> None:
        self.config, self.asking, self.most_bytes = config, asking, most_bytes
        self.begun = monotonic()

    async def scrape(self, target: Target) -> Scrape:
        """Scrape one instance. Raises JobError, OutboundError."""
        response = await self.asking.fetcher.get(
            target.url,
            {**HEADERS, **credentials_for(target, self.config, self.asking)},
            timeout_s=self.config.timeout_s,
            max_bytes=self.most_bytes,
            gzip=True,
            ca_pem=self.config.ca_pem,
            to=target.to,
        )
        at = self.asking.now.timestamp() + monotonic() - self.begun
        if len(response.body) < LARGE_BYTES:
            return Scrape(at, exposition_of(response, target))
        return Scrape(at, await asyncio.to_thread(exposition_of, response, target))

    async def first(self, targets: Sequence[Target]) -> tuple[Plan, list[Instance]]:
        """Return what instances give, and how it is computed. Raises JobError, OutboundError."""
        asked = await ask_all(targets, self.scrape, timeout_s=self.config.timeout_s)
        plan = plan_of(self.config, [one for _, one in asked.given])
        found = asked.then(lambda target, one: instance_of(target, one, plan))
        found.check(self.asking)
        if not plan.queries:
            raise nothing_known(*asked.given[0])
        return plan, [one for _, one in found.given]

    async def again(self, instances: Sequence[Instance], plan: Plan) -> list[Instance]:
        """Return the instances, those without counters of before scraped again; without those that did not answer.

        Raises: JobError, OutboundError where none is left.
        """
        fresh = {one.target.key: one for one in instances if one.before is None}
        if not fresh:
            return list(instances)
        # Where samples are seconds apart, as in a demo, the first one is not to take longer than that.
        pause_s = min(self.config.pause_s, max(settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS / 4, LEAST_S))
        await asyncio.sleep(pause_s)
        asked = await ask_all([one.target for one in fresh.values()], self.scrape, timeout_s=self.config.timeout_s)
        found = asked.then(lambda target, one: instance_of(target, one, plan))
        settled = [one for one in instances if one.before is not None]
        found.check(self.asking, others=len(settled))
        for target, one in found.given:
            one.before = Counters(fresh[target.key].at, fresh[target.key].counters, fresh[target.key].start)
        return settled + [one for _, one in found.given]


class OpenMetricsKind(SourceKind[OpenMetricsConfig]):
    name = "openmetrics"
    control = "endpoint"
    label = _("metrics page (Prometheus text, OpenMetrics)")
    config = OpenMetricsConfig

    async def read(self, config: OpenMetricsConfig, asking: Asking) -> Metrics:
        """Scrape each instance once, and again after a pause where its counters of before cannot be used."""
        check_not_blocked(asking.endpoint)
        targets = await targets_of(config, asking)
        scraping = Scraping(config, asking, most_bytes_of(targets))
        plan, instances = await scraping.first(targets)
        memory = Memory.of(asking.state.before)
        usable = memory.instances if memory.mark == plan.mark else {}
        for one in instances:
            one.before = usable_of(one, usable.get(one.target.key), asking, plan)
        if any(selection.is_rate for selection in plan.selections):
            instances = await scraping.again(instances, plan)
        kept = {one.target.key: Counters(one.at, remembered(one, plan), one.start) for one in instances}
        asking.state.after = Memory(plan.mark, kept).stored()
        twice = sorted({name for one in instances for name in one.twice})
        if twice:
            asking.told.append(Fact("exposition_twice", {"names": ", ".join(twice[:MOST_NAMED])}))
        return self.computed(config, instances, plan, asking)

    def computed(self, config: OpenMetricsConfig, instances: Sequence[Instance], plan: Plan, asking: Asking) -> Metrics:
        """Return the metrics of these instances together."""
        found: dict[str, float | None] = {}
        failures: list[ExplainedError] = []
        for name, query in plan.queries.items():
            own = config.metrics.get(name)
            if name == "memory_usage" or (own is not None and own.kind == "gauge"):
                each = [query.value(partial(select, [one])) for one in instances]
                value = together(way_of(name, asking.endpoint.custom_kinds), [(one, Metrics()) for one in each])
            else:
                value = query.value(partial(select, instances))
            if value is None:
                continue
            try:
                found[name] = allowed(name, value)
            except ExplainedError as error:
                failures.append(error)
        if failures and not found:
            raise failures[0]
        asking.told.extend(error.fact for error in failures)
        return metrics_of(found, instances=len(instances) if instances[0].target.single else None)


def exposition_of(response: Response, target: Target) -> Exposition:
    """Return the series of an answer. Raises JobError."""
    status = response.status
    if status != 200:
        if status in (401, 403):
            raise JobError("source_unauthorized", status=status, url=target.shown, retry=False)
        code = "redirect" if 300 <= status < 400 else "http_5xx" if status >= 500 else "http_4xx"
        raise JobError(code, status=status, url=target.shown)
    content_type = response.content_type.lower()
    if "io.prometheus.client.metricfamily" in content_type:
        raise unread(response, target, Fact("answer_is.protobuf"))
    body = response.body
    if content_type.startswith("application/openmetrics-text") and not body.rstrip().endswith(b"# EOF"):
        raise unread(response, target, Fact("exposition_cut"))
    found = read(body)
    if format_of(body) not in ("prometheus", "openmetrics") and not found.types:
        form = format_of(body)
        raise unread(response, target, Fact(f"exposition_is.{form or 'other'}"))
    return found


def nothing_known(target: Target, scrape: Scrape) -> JobError:
    names = sorted(scrape.exposition.names)
    shown = ", ".join(name for name in names[:MOST_NAMED])
    return JobError("no_known_family", url=target.shown, n=len(names), names=shown[:LONGEST_NAMES], retry=False)


def unread(response: Response, target: Target, problem: Fact) -> JobError:
    return JobError("unread_exposition", problem=problem, url=target.shown, answered=first_lines(response))


def instance_of(target: Target, scrape: Scrape, plan: Plan) -> Instance:
    """Return what the plan needs of a scrape. Raises JobError."""
    twice: set[str] = set()
    try:
        values = {one: gathered(one, scrape.exposition, twice, summed=plan.summed) for one in plan.selections}
    except InvalidExposition as error:
        raise JobError("unread_exposition", problem=error.fact, url=target.shown, retry=False) from None
    empty = [one for one in plan.selections if one.name in scrape.exposition.names and not values[one]]
    return Instance(target, scrape.at, values, empty=empty, twice=twice, start=start_of(scrape.exposition))


def start_of(exposition: Exposition) -> float | None:
    """Return when the process began, in s since 1970 by its own clock; None where it does not say."""
    with suppress(InvalidExposition):
        return next((value for _labels, _bound, value in exposition.series("process_start_time_seconds")), None)
    return None


def usable_of(one: Instance, before: Counters | None, asking: Asking, plan: Plan) -> Counters | None:
    """Return the counters of before if the present ones can be compared with them."""
    if before is None or not LEAST_S <= one.at - before.at <= OLDEST.total_seconds():
        return None
    if asking.since is not None and before.at < asking.since.timestamp():
        return None
    began_later_s = one.start - before.start if one.start is not None and before.start is not None else 0.0
    if began_later_s < -SAME_START_S:
        asking.told.append(Fact("exposition_of_others", {"instance": one.target.shown}))
        return None
    if began_later_s > SAME_START_S:
        # All that it has counted is from after it began.
        began = one.start if one.start is not None and before.at < one.start < one.at - LEAST_S else before.at
        return Counters(began, {}, one.start)
    # Of a sum that falls nobody can say whether all began again or a part of it is gone.
    fallen = plan.summed and any(value < before.values.get(key, 0.0) for key, value in one.counters.items())
    return None if fallen else before


def remembered(one: Instance, plan: Plan) -> Mapping[str, float]:
    """Return the counters to compare the next scrape with: also those that are missing now, and may come back."""
    now, before = one.counters, one.before.values if one.before is not None else {}
    restarted = any(value < before.get(key, 0.0) for key, value in now.items())
    if plan.summed or restarted:
        return now
    return {**dict(islice(before.items(), max(MOST_KEPT - len(now), 0))), **now}
