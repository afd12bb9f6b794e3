"""Add, change, remove and try the sources of an environment."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.collecting import endpoint_of
from metrics.models import Source
from metrics.payload import ERROR_ASKS, Metrics
from metrics.sources import SOURCE_KINDS, source_kind
from metrics.sources.base import Asking, InvalidConfig, SourceConfig, SourceKind
from outbound.addresses import AllowList
from outbound.endpoints import EndpointError, Origin, origin_of
from outbound.fetcher import Fetcher
from projects.guarding import refused_endpoint
from projects.models import ENDPOINT, Environment
from scheduler.queue import database_now

MOST_SOURCES = 10
T = TypeVar("T")
Config = TypeVar("Config", bound=SourceConfig)


def kind_named(name: Any) -> SourceKind[Any]:
    """Return the kind of source of this name. Raises InvalidConfig."""
    kind = source_kind(name) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(one.name for one in SOURCE_KINDS)
        raise InvalidConfig({"kind": Fact("config.literal_error", {"expected": known})})
    return kind


def add_source(environment: Environment, kind: str, data: Any) -> Source:
    """Add a source to the environment. One that has an endpoint of its own goes on being asked there as well.

    Raises: InvalidConfig, Environment.DoesNotExist where it is deleted.
    """
    config = guarded(kind_named(kind), data)
    with transaction.atomic():
        locked = lock_environment(environment)
        rows = list(locked.sources.all())
        if len(rows) >= MOST_SOURCES:
            raise InvalidConfig({"kind": Fact("config.most_sources", {"most": MOST_SOURCES})})
        position = rows[-1].position + 1 if rows else 0
        if not rows and locked.metrics_endpoint and kind != ENDPOINT and kind_named(kind).measures:
            locked.sources.create(kind=ENDPOINT, position=position, config=json.dumps({}))
            position += 1
        source = locked.sources.create(kind=kind, position=position, config=stored_form(config))
        note_kinds(environment)
    return source


def change_source(source: Source, data: Any) -> None:
    """Replace the configuration of a source; a secret that is left out stays as it is.

    Raises: InvalidConfig, Source.DoesNotExist where it was removed meanwhile.
    """
    kind = kind_named(source.kind)
    kept = with_kept_secrets(kind, source, data) if isinstance(data, Mapping) else data
    rows = Source.objects.filter(pk=source.pk)
    if not rows.update(config=stored_form(guarded(kind, kept)), failure=None, failed_at=None, answered_at=None):
        raise Source.DoesNotExist


def guarded(kind: SourceKind[Config], data: Any) -> Config:
    """Return the parsed configuration. Raises InvalidConfig, also for addresses that no request may go to."""
    config = kind.parse(data)
    refused = {}
    for path, url in kind.addresses(config):
        with suppress(EndpointError):  # of a step it may have values that are captured before
            if (fact := refused_endpoint(url)) is not None:
                refused[path] = fact
    if refused:
        raise InvalidConfig(refused)
    return config


def remove_source(source: Source) -> None:
    with transaction.atomic():
        lock_environment(source.environment)
        Source.objects.filter(pk=source.pk).delete()
        note_kinds(source.environment)


def lock_environment(environment: Environment) -> Environment:
    rows = Environment.objects.not_deleted().select_for_update(no_key=True)
    return rows.only("pk", "metrics_endpoint").get(pk=environment.pk)


def note_kinds(environment: Environment) -> None:
    kinds = Source.objects.filter(environment=environment).order_by("position", "pk").values_list("kind", flat=True)
    environment.source_kinds = list(dict.fromkeys(name for name in kinds if kind_named(name).measures))
    Environment.objects.filter(pk=environment.pk).update(source_kinds=environment.source_kinds)


def stored_form(config: SourceConfig) -> str:
    return json.dumps(config.model_dump(mode="json", exclude_defaults=True))


def reveal(source: Source) -> dict[str, Any]:
    """Return the stored configuration, secrets included. Raises ImproperlyConfigured where no key opens it."""
    found: dict[str, Any] = json.loads(source.config.open() or "{}")
    return found


def readable(source: Source) -> dict[str, Any] | None:
    """Return the stored configuration, None where no key opens it."""
    try:
        return reveal(source)
    except ImproperlyConfigured:
        return None


def with_kept_secrets(kind: SourceKind[Any], source: Source | None, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return given values with the stored secrets of those that are left out.

    Raises: InvalidConfig where they would be sent to another origin: who changes it may not be who knows them.
    """
    stored = {} if source is None else readable(source)
    if stored is None:
        raise InvalidConfig({"config": Fact("unreadable_secret")})
    data = kind.with_nested_secrets(stored, data)
    kept = {name: value for name, value in stored.items() if name in secret_fields(kind) and name not in data}
    if kept and not origins(kind, data) <= origins(kind, stored):
        raise InvalidConfig(dict.fromkeys(kept, Fact("config.secret_again")))
    return {**kept, **data}


def origins(kind: SourceKind[Any], data: Mapping[str, Any]) -> set[Origin | None]:
    """Return where a configuration sends its secrets; None stands for what is no address."""
    targets = data.get("targets")
    found: set[Origin | None] = set()
    for url in (kind.home(data), *(targets if isinstance(targets, list) else ())):
        try:
            found.add(origin_of(url) if isinstance(url, str) else None)
        except EndpointError:
            found.add(None)
    return found


def without_secrets(kind: SourceKind[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that may be shown."""
    schema = kind.config.model_json_schema()
    shown: dict[str, Any] = _shown(schema, schema.get("$defs", {}), data)
    return shown


def _shown(schema: Mapping[str, Any], parts: Mapping[str, Any], value: Any) -> Any:
    """Return a value of this schema without its secret fields. parts: of the schema, by name."""
    schema = parts.get(schema["$ref"].rpartition("/")[2], schema) if "$ref" in schema else schema
    if isinstance(value, list | tuple) and "items" in schema:
        return [_shown(schema["items"], parts, one) for one in value]
    known = schema.get("properties")
    if known is None or not isinstance(value, Mapping):
        return value
    return {
        name: _shown(known.get(name, {}), parts, one)
        for name, one in value.items()
        if '"secret": true' not in json.dumps(known.get(name, {}))
    }


def secret_fields(kind: SourceKind[Any]) -> set[str]:
    """Return the fields of a configuration whose values, or parts of them, are secret."""
    fields = kind.config.model_json_schema()["properties"]
    return {name for name, schema in fields.items() if '"secret": true' in json.dumps(schema)}


def secrets_in(kind: SourceKind[Any], data: Mapping[str, Any]) -> list[str]:
    """Return the paths of the secrets that a configuration has, such as headers.Authorization."""
    return list(_hidden(data, without_secrets(kind, data), ""))


def _hidden(value: Any, shown: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            left = shown.get(name) if isinstance(shown, Mapping) else None
            yield from _hidden(one, left, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        known = [*(shown if isinstance(shown, list) else ()), *[None] * len(value)]
        for number, (one, left) in enumerate(zip(value, known, strict=False)):
            yield from _hidden(one, left, f"{path}.{number}")
    elif value not in ("", None) and value != shown:
        yield path


@dataclass(frozen=True, slots=True)
class Trial:
    """What one attempt to read a source gave: metrics, or why there are none; told: see Asking."""

    metrics: Metrics
    problem: Fact | None
    took_ms: float
    told: Sequence[Fact] = ()


def try_source(environment: Environment, kind: str, data: Any) -> Trial:
    """Read a source once with this configuration; writes nothing. Waits for at most its time limit.

    Raises: InvalidConfig.
    """
    known = kind_named(kind)
    config = known.parse(data)
    if not known.measures:
        return Trial(Metrics(), Fact("nothing_to_ask"), 0.0)
    begun, told = monotonic(), list[Fact]()

    async def read(asking: Asking) -> Metrics:
        try:
            return await known.read(config, asking)
        finally:
            told.extend(asking.told)

    try:
        metrics, problem = ask_once(environment, read), None
    except ExplainedError as error:
        metrics, problem = Metrics(), error.fact
    if problem is None and metrics.empty:
        problem = Fact("nothing_measured")
    # Counts of what a source expects are for the judge; what was not so is told.
    counts = {name for one in known.expectations(config) for name in (one.name, one.asked, one.answered)}
    metrics.custom = {name: value for name, value in metrics.custom.items() if name not in {ERROR_ASKS, *counts}}
    return Trial(metrics, problem, (monotonic() - begun) * 1000, told)


def ask_once(environment: Environment, call: Callable[[Asking], Coroutine[Any, Any, T]]) -> T:
    """Return what the call returns, which asks a source of this environment outside of any job. Waits for it."""
    now, endpoint = database_now(), endpoint_of(environment)

    async def asked() -> T:
        allow = AllowList.parse(settings.SEQPULSE_OUTBOUND_ALLOW)
        fetcher = Fetcher(allow, max_connections=20, per_host=20, keep_alive=0)
        try:
            return await call(Asking(fetcher, now, now, endpoint))
        finally:
            await fetcher.aclose()

    return asyncio.run(asked())
