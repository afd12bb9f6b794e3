"""Find out what a Prometheus has of a service, suggest expressions, and try them."""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.sources.base import Asking
from metrics.sources.prometheus import PrometheusConfig, PrometheusServer, allowed, api_of, one_series
from metrics.sources.prometheus_api import Api, series_of
from metrics.sources.prometheus_templates import (
    NAMES,
    PLACES,
    STATUS,
    TEMPLATES,
    Template,
    other_templates,
)

# Of one server: more are not shown.
MOST_SERVICES = 200
MOST_NAMES_BYTES = 1024 * 1024
LOOKED_BACK = timedelta(hours=1)
CHART_STEP_S = 60.0
# Where there are several of a label's kind, these tell services apart that the first does not.
JOBS = ("job", "exported_job")
# Parts of names that say nothing about the service: shop.default.svc.cluster.local, outbound|80||shop, shop@docker.
COMMON_PARTS = frozenset({"default", "svc", "cluster", "local", "outbound", "inbound", "docker", "kubernetes", "file"})


@dataclass(frozen=True, slots=True)
class Service:
    """What a template found of one service.

    labels: that select it; series: how many there are; expressions: by metric, as a configuration takes them, where the
    template lacks a metric those of another one; templates: whose expressions they are.
    """

    labels: Mapping[str, str]
    series: int
    expressions: Mapping[str, str]
    templates: Sequence[str]

    @property
    def selector(self) -> str:
        return "{" + selector_of(self.labels) + "}"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A template that fits, with the services that it found, the likeliest first."""

    template: str
    label: str
    services: Sequence[Service]


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a server has. problem: why there is no suggestion; scrape_interval_s: None where it is unknown."""

    suggestions: Sequence[Suggestion] = ()
    scrape_interval_s: float | None = None
    problem: Fact | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """One expression, tried: its value now, and those of the last hour with their times.

    problem: what is wrong with it; refused: whether it cannot be used.
    """

    metric: str
    query: str
    value: float | None = None
    points: Sequence[tuple[datetime, float]] = ()
    problem: Fact | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Series of a template that have the same labels."""

    template: Template
    labels: Mapping[str, str]
    series: int
    status: str | None


async def discover(server: PrometheusServer, asking: Asking, *, wanted: Sequence[str] = ()) -> Discovery:
    """Ask a server what it has, and suggest expressions.

    wanted: names, as of the project and the environment; services that have them in a label come first.

    Raises: JobError, OutboundError.
    """
    api = api_of(server, asking)
    recent = {
        "match[]": f'{{__name__=~"{NAMES}"}}',
        "start": f"{asking.now.timestamp() - LOOKED_BACK.total_seconds():.0f}",
        "end": f"{asking.now.timestamp() + LOOKED_BACK.total_seconds():.0f}",
    }
    data = await api.data("label/__name__/values", recent, MOST_NAMES_BYTES)
    known = [name for name in data if isinstance(name, str)] if isinstance(data, list) else []
    templates = [*TEMPLATES, *other_templates(known)]
    pairs = [(template, family) for template in templates if (family := template.family(known)) is not None]
    if not pairs:
        return Discovery(problem=Fact("nothing_known_there"))
    gathered = await asyncio.gather(*(services_of(api, *pair) for pair in pairs), return_exceptions=True)
    found: list[Found] = []
    for one in gathered:
        if isinstance(one, BaseException) and not isinstance(one, ExplainedError):
            raise one
        if not isinstance(one, BaseException):
            found += one
    names = words(wanted)
    suggestions = []
    for template, _ in pairs:
        # Where nobody asks for its traffic it still has its own page of expressions.
        own = [one for one in found if one.template is template]
        own.sort(key=lambda one: (-len(names & words(one.labels.values())), -one.series, sorted(one.labels.items())))
        services = [with_expressions(one, found, known) for one in own[:MOST_SERVICES]]
        services = [service for service in services if service.expressions]
        if services:
            suggestions.append(Suggestion(template.name, template.label, services))
    # Stable: in the order of templates, but those of the wanted service first.
    suggestions.sort(key=lambda one: -len(names & words(one.services[0].labels.values())))
    suggestions.sort(key=lambda one: "requests_per_sec" not in one.services[0].expressions)
    suggestions = without_repeated(suggestions)
    if not suggestions:
        return Discovery(problem=Fact("nothing_known_there"))
    family = next(family for template, family in pairs if template.name == suggestions[0].template)
    return Discovery(suggestions, await scrape_interval(api, family, suggestions[0].services[0].labels))


def without_repeated(suggestions: Sequence[Suggestion]) -> list[Suggestion]:
    """Leave out what tells of a service no metric that an earlier suggestion does not tell."""
    told: dict[str, set[str]] = {}
    found = []
    for one in suggestions:
        services = []
        for service in one.services:
            known = told.setdefault(service.selector, set())
            if not known.issuperset(service.expressions):
                services.append(service)
            known.update(service.expressions)
        if services:
            found.append(replace(one, services=services))
    return found


async def services_of(api: Api, template: Template, family: str) -> list[Found]:
    """Return the services that a family has series of. Raises JobError, OutboundError."""
    names = list(dict.fromkeys((*PLACES, *template.services, *JOBS)))
    statuses = [name for name in template.statuses if name not in names]
    grouped = f"count by ({', '.join([*names, *statuses])}) ({family})"
    series = series_of(await api.data("query", {"query": grouped}))
    found: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    jobs: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for one in series:
        key = labels_of(one.labels, template)
        jobs.setdefault(key, set()).add(job_of(one.labels))
    for one in series:
        key = labels_of(one.labels, template)
        if len(jobs[key]) > 1:
            key = (*key, *((name, one.labels[name]) for name in JOBS if name in one.labels and name not in dict(key)))
        if not key:
            continue
        entry = found.setdefault(key, {"series": 0, "status": set()})
        entry["series"] += int(one.points[0][1]) if one.points else 0
        entry["status"] |= {name for name in statuses if STATUS.fullmatch(one.labels.get(name, ""))}
    return [
        Found(
            template,
            dict(key),
            entry["series"],
            next((name for name in statuses if name in entry["status"]), None),
        )
        for key, entry in found.items()
    ]


def labels_of(labels: Mapping[str, str], template: Template) -> tuple[tuple[str, str], ...]:
    """Return the labels by which a series belongs to a service: its places, and the first that names the service."""
    places = [(name, labels[name]) for name in PLACES if labels.get(name)]
    service = [(name, labels[name]) for name in template.services if labels.get(name)][:1]
    return (*places, *service) if service else ()


def job_of(labels: Mapping[str, str]) -> str:
    return "\n".join(labels.get(name, "") for name in JOBS)


def with_expressions(one: Found, found: Iterable[Found], known: Iterable[str]) -> Service:
    """Return a service with the expressions of its template, and what other templates add to them."""
    expressions: dict[str, str] = {}
    templates: list[str] = []
    # Of a whole machine only where nothing else is known, and there is only one.
    hosts = [other for other in found if other.template.host]
    for other in [one, *(other for other in found if goes_with(other, one)), *(hosts if len(hosts) == 1 else [])]:
        own = other.template.expressions(known, selector_of(other.labels), other.status)
        more = {metric: query for metric, query in own.items() if metric not in expressions}
        if more:
            expressions |= more
            templates.append(other.template.name)
    return Service(one.labels, one.series, expressions, tuple(dict.fromkeys(templates)))


def goes_with(other: Found, one: Found) -> bool:
    """Return whether two templates speak of the same service: of one place, and with a common name."""
    if other.template is one.template or other.template.host or one.template.host:
        return False
    here, there = places_of(one.labels), places_of(other.labels)
    if here and there and not here & there:
        return False
    return bool(named_by(one) & named_by(other))


def places_of(labels: Mapping[str, str]) -> set[str]:
    return {text for name, text in labels.items() if name in PLACES}


def named_by(one: Found) -> frozenset[str]:
    """Return the words that name a service: whole names where they are known, not parts such as "api"."""
    return words((text for name, text in one.labels.items() if name not in PLACES))


def words(texts: Iterable[str]) -> frozenset[str]:
    """Return names without what surrounds them: shop of default/shop, shop@docker, shop.default.svc.cluster.local."""
    parts = (part for text in texts for part in re.split(r"[/@|.:,\s]+", text.lower()))
    return frozenset(part for part in parts if part and not part.isdigit() and part not in COMMON_PARTS)


def selector_of(labels: Mapping[str, str]) -> str:
    """Return labels as matchers of PromQL, without braces."""
    return ", ".join(f"{name}={json.dumps(text, ensure_ascii=False)}" for name, text in labels.items())


async def scrape_interval(api: Api, family: str, labels: Mapping[str, str]) -> float | None:
    """Return the seconds between two scrapes of a series of this family, None where that cannot be found out."""
    try:
        some = series_of(await api.data("query", {"query": f"topk(1, {family}{{{selector_of(labels)}}})"}))
        if not some:
            return None
        whole = selector_of({name: text for name, text in some[0].labels.items() if name != "__name__"})
        raw = series_of(await api.data("query", {"query": f"{family}{{{whole}}}[10m]"}))
    except ExplainedError:
        return None
    gaps = [later - earlier for one in raw[:1] for (earlier, _), (later, _) in pairwise(one.points)]
    return round(median(gaps), 1) if gaps else None


async def tried(config: PrometheusConfig, asking: Asking) -> list[Tried]:
    """Try each expression: its value now, and the last hour.

    Raises: JobError, OutboundError where the server cannot be asked at all.
    """
    api = api_of(config, asking)
    queries = config.filled
    now = await api.ask("query", queries, {})
    end_s = asking.now.timestamp() + config.ahead_s
    span = {
        "start": f"{end_s - LOOKED_BACK.total_seconds():.3f}",
        "end": f"{end_s:.3f}",
        "step": f"{CHART_STEP_S:.0f}",
    }
    try:
        past = await api.ask("query_range", queries, span, int(LOOKED_BACK.total_seconds() / CHART_STEP_S) + 1)
    except ExplainedError:
        past = {}
    found = []
    for name, query in config.expressions.items():
        points: list[tuple[datetime, float]] = []
        try:
            series = one_series(name, now[name])
            points = [
                (datetime.fromtimestamp(at - config.ahead_s, UTC), value)
                for at, value in one_series(name, past.get(name, ())).points
            ]
            value = allowed(name, series.points[0][1]) if series.points else None
        except ExplainedError as error:
            found.append(Tried(name, query, points=points, problem=error.fact, refused=True))
            continue
        problem = None
        if value is None:
            problem = Fact("expression.no_number" if now[name] or points else "expression.nothing", {"name": name})
        found.append(Tried(name, query, value, points, problem, refused=value is None and not now[name] and not points))
    return found
