"""The sources of an environment as a list: for the API, for seqpulse.toml, and for commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from deployments.control import is_configured
from explain.facts import Fact
from metrics.configuring import (
    MOST_SOURCES,
    Trial,
    guarded,
    kind_named,
    lock_environment,
    note_kinds,
    origins,
    readable,
    secret_fields,
    secrets_in,
    stored_form,
    try_source,
    with_kept_secrets,
    without_secrets,
)
from metrics.models import Source
from metrics.sources.base import MOST_ERRORS, InvalidConfig, SourceKind
from projects.models import Environment


@dataclass(frozen=True, slots=True)
class Given:
    """A source as a call or a file gives it, at a place of the list. row: the stored one whose secrets it keeps."""

    kind: SourceKind[Any]
    config: dict[str, Any]
    row: Source | None


def as_listed(source: Source) -> dict[str, Any]:
    """Return a source as answers of the API show it: its kind and settings, without secrets, and how it does."""
    kind, known = kind_named(source.kind), readable(source)
    config = known or {}
    failure = Fact.from_json(source.failure) if source.failure else None
    return {
        "kind": source.kind,
        "config": without_secrets(kind, config),
        "secrets": secrets_in(kind, config),
        "answered_at": source.answered_at,
        "failed_at": source.failed_at if source.failure else None,
        "failure": failure if known is not None else Fact("unreadable_secret"),
    }


def read_list(
    environment: Environment, data: Any, *, secrets: bool = True, named_by_call: bool = True
) -> list[tuple[Given, Any]]:
    """Return the sources of a list, each with its parsed configuration.

    A source keeps the secrets that are left out if one of the same kind is stored that sends them to no other origin.

    Args:
        secrets: whether the list may hold any: a file in a repository may not.
        named_by_call: where the environment signs, its endpoint may only be at an origin that a person configured.

    Raises: InvalidConfig with the paths in the list, such as sources.0.expressions.error_rate.
    """
    if not isinstance(data, list) or not all(isinstance(one, Mapping) for one in data):
        raise InvalidConfig({"sources": Fact("config.sources_list")})
    if len(data) > MOST_SOURCES:
        raise InvalidConfig({"sources": Fact("config.most_sources", {"most": MOST_SOURCES})})
    stored = list(environment.sources.all())
    found, errors = [], dict[str, Fact]()
    for place, one in enumerate(data):
        try:
            kind = kind_named(one.get("kind"))
            config = _config_of(one)
            row = _same(kind, config, stored)
            if row is not None:
                stored.remove(row)
            if not secrets:
                _refuse_secrets(kind, config)
            full = with_kept_secrets(kind, row, config)
            # A file's call is a pipeline's: it goes on, and the source says why it gives nothing.
            parsed = guarded(kind, full) if secrets else kind.parse(full)
            if named_by_call:
                _check_signed(environment, kind, full, stored if row is None else [*stored, row])
            found.append((Given(kind, full, row), parsed))
        except InvalidConfig as error:
            errors |= {f"sources.{place}.{path}": fact for path, fact in error.errors.items()}
    if errors:
        raise InvalidConfig(errors)
    return found


def _config_of(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a source: those in `config`, or beside its kind."""
    beside = {name: value for name, value in one.items() if name not in ("kind", "config", *TOLD)}
    if "config" not in one:
        return beside
    if beside or not isinstance(one["config"], Mapping):
        raise InvalidConfig({"config": Fact("config.kind_and_settings")})
    return dict(one["config"])


# What an answer tells of a source besides: a list may be sent back as it was answered.
TOLD = ("secrets", "answered_at", "failed_at", "failure")


def _same(kind: SourceKind[Any], config: Mapping[str, Any], stored: Sequence[Source]) -> Source | None:
    """Return the stored source whose secrets this one may keep: the same settings first, then the same origins."""
    rows = [row for row in stored if row.kind == kind.name]
    known = {row.pk: readable(row) or {} for row in rows}
    alike = [row for row in rows if origins(kind, config) <= origins(kind, known[row.pk])]
    secret = secret_fields(kind)

    def differences(row: Source) -> int:
        before = known[row.pk]
        return sum(config.get(name) != before.get(name) for name in {*config, *before} - secret)

    return min(alike, key=differences, default=None)


def _refuse_secrets(kind: SourceKind[Any], config: Mapping[str, Any]) -> None:
    """Raise InvalidConfig for each secret in the settings."""
    wrong = secrets_in(kind, config)
    if wrong:
        raise InvalidConfig(dict.fromkeys(wrong[:MOST_ERRORS], Fact("config.secret_in_file")))


def _check_signed(
    environment: Environment, kind: SourceKind[Any], config: Mapping[str, Any], stored: Sequence[Source]
) -> None:
    """Raise InvalidConfig for the address of an endpoint that would get signed requests and no person configured."""
    if kind.control != "endpoint" or not environment.hmac_secret.open():
        return
    known = set().union(*(origins(kind, readable(row) or {}) for row in stored if row.kind == kind.name))
    addresses = [url for name in ("url", "targets") for url in _list(config.get(name))]
    if any(not is_configured(url, environment) and not origins(kind, {"url": url}) <= known for url in addresses):
        raise InvalidConfig({"url": Fact("config.signed_elsewhere")})


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [one for one in value or () if isinstance(one, str)]


def replace_sources(
    environment: Environment, data: Any, *, secrets: bool = True, named_by_call: bool = True, further: bool = True
) -> bool:
    """Make the environment's sources those of the list, in its order; return whether that changed anything.

    further: whether those that only give further evidence, such as alerts, go as well where the list has none.
    See read_list for the rest. Raises: InvalidConfig, Environment.DoesNotExist where it is deleted.
    """
    with transaction.atomic():
        lock_environment(environment)
        given = read_list(environment, data, secrets=secrets, named_by_call=named_by_call)
        kept = [one.row.pk for one, _ in given if one.row is not None]
        gone = environment.sources.exclude(pk__in=kept)
        if not further:
            gone = gone.exclude(pk__in=[row.pk for row in gone if not kind_named(row.kind).measures])
        changed = bool(gone.delete()[0])
        for position, (one, config) in enumerate(given):
            text = stored_form(config)
            if one.row is None:
                environment.sources.create(kind=one.kind.name, position=position, config=text)
                changed = True
            elif one.row.config.open() != text:
                columns = {"failure": None, "failed_at": None, "answered_at": None}
                Source.objects.filter(pk=one.row.pk).update(config=text, position=position, **columns)
                changed = True
            elif one.row.position != position:
                Source.objects.filter(pk=one.row.pk).update(position=position)
                changed = True
        if changed:
            note_kinds(environment)
    return changed


def move_source(source: Source, by: int) -> None:
    """Move a source up (-1) or down (1) by one place; at the end it stays."""
    with transaction.atomic():
        environment = source.environment
        lock_environment(environment)
        rows = list(environment.sources.all())
        place = next((n for n, row in enumerate(rows) if row.pk == source.pk), None)
        if place is None:
            raise Source.DoesNotExist
        if 0 <= place + by < len(rows):
            rows.insert(place + by, rows.pop(place))
            for position, row in enumerate(rows):
                Source.objects.filter(pk=row.pk).update(position=position)
            note_kinds(environment)


def try_list(environment: Environment, data: Any) -> list[tuple[str, Trial]]:
    """Try each source of the list once; writes nothing. Raises InvalidConfig."""
    return [
        (one.kind.name, try_source(environment, one.kind.name, one.config)) for one, _ in read_list(environment, data)
    ]


def stored_list(environment: Environment) -> list[dict[str, Any]]:
    """Return the stored sources as a list that read_list takes, without secrets: it keeps them."""
    return [
        {"kind": row.kind, "config": without_secrets(kind_named(row.kind), readable(row) or {})}
        for row in environment.sources.all()
    ]
