"""Take samples that a service sends by itself (POST /samples).

metrics/pushed.py keeps them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from django.db import transaction

from common.arrays import array
from common.database import prepared
from deployments.services import ProjectArchived, unknown_environment
from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.configuring import add_source
from metrics.payload import BOUNDS, METRICS, InvalidPayload, Metrics, checked, custom_of, short
from metrics.pushed import EARLY, KIND, LATE
from projects.authentication import CALLING, Counter, SeenKey
from projects.models import Environment, Project
from projects.units import METRICS_WITH_UNITS, OUR_UNITS, Units

MOST_SAMPLES = 1000
LONGEST_INSTANCE = 200
# Of a call that is wrong throughout.
MOST_NAMED = 20
FIELDS = ("at", "instance", *METRICS, "custom")
# Seconds since 1970 that a time may have; what is beyond is far from now anyway.
LAST_S = 32_503_680_000

COLUMNS = f"at, instance, {', '.join(METRICS)}, custom"
TYPES = ("timestamptz", "text", *("float8" for _ in METRICS), "jsonb")
UNITS = f"concat_ws(' ', {', '.join(f'{metric}_unit' for metric in METRICS_WITH_UNITS)})"

# Without a time it is now. In the order of the key: two callers with the same samples must not wait for each other.
WRITE = f"""
given AS MATERIALIZED (SELECT number - 1 AS number, coalesce(at, statement_timestamp()) AS at, {COLUMNS[4:]}
    FROM unnest({", ".join(f"%(column{place})s::{kind}[]" for place, kind in enumerate(TYPES))})
    WITH ORDINALITY AS given({COLUMNS}, number)),
written AS (INSERT INTO pushed_samples (environment_id, {COLUMNS})
    SELECT place.id, {COLUMNS} FROM given CROSS JOIN place
    WHERE at >= statement_timestamp() - interval '{LATE.total_seconds()} s'
        AND at <= statement_timestamp() + interval '{EARLY.total_seconds()} s'
    ORDER BY at, instance ON CONFLICT DO NOTHING RETURNING 1)
"""  # noqa: S608  (built from the constants above)
RESULT = f"""(SELECT count(*) FROM written),
    (SELECT array_agg(number ORDER BY number) FROM given
        WHERE at < statement_timestamp() - interval '{LATE.total_seconds()} s'),
    (SELECT array_agg(number ORDER BY number) FROM given
        WHERE at > statement_timestamp() + interval '{EARLY.total_seconds()} s')"""  # noqa: S608  (constants)
# The call of a key and an environment that were seen before, as they were then.
USUAL = f"""
WITH {CALLING},
place AS (SELECT environment.id FROM projects_environment AS environment
    JOIN allowed ON allowed.id = environment.project_id
    WHERE environment.id = %(environment)s::bigint AND environment.name = %(env)s AND environment.deleting_at IS NULL
        AND source_kinds @> '["{KIND}"]' AND {UNITS} = %(units)s AND archived_at IS NULL),
{WRITE}
SELECT (SELECT value FROM counted), (SELECT id FROM place), {RESULT} FROM caller
"""  # noqa: S608  (built from the constants above)
INSERT = f"WITH place AS (SELECT %(environment)s::bigint AS id), {WRITE} SELECT {RESULT}"

METRICS_OF = attrgetter(*METRICS)
# By id of key and name of environment, what a statement needs of an environment. It checks that this is still so.
_seen: dict[tuple[int, str], tuple[int, Units]] = {}
SEEN_MOST = 10_000


class InvalidSamples(ValueError):
    """Not a batch of samples. errors: what is wrong, by the path of the field."""

    def __init__(self, errors: Mapping[str, Fact]) -> None:
        super().__init__(", ".join(errors))
        self.errors = errors


class NotPushed(ExplainedError):
    """The environment is measured in another way, or takes nothing by itself."""


@dataclass(slots=True)
class PushedValue:
    """A sample as it came. at: None for now."""

    at: datetime | None
    instance: str
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch: how many are stored now or were before, and the places of those that are not.

    used: the calls of the limit's period with this one, None where they are not counted; notes: what else happened;
    stored: False where the call was only counted.
    """

    taken: int = 0
    repeated: int = 0
    late: Sequence[int] = ()
    early: Sequence[int] = ()
    used: int | None = None
    notes: list[Fact] = field(default_factory=list)
    stored: bool = True

    @property
    def refused(self) -> int:
        return len(self.late) + len(self.early)

    @property
    def errors(self) -> dict[str, Fact]:
        """Return why samples were refused, by the path of the field."""
        why = [(place, "pushed_late") for place in self.late] + [(place, "pushed_early") for place in self.early]
        return {f"samples.{place}.at": Fact(code) for place, code in sorted(why)[:MOST_NAMED]}


def parse_samples(given: Any, units: Units = OUR_UNITS) -> list[PushedValue]:
    """Return the samples of a call, converted from these units. Raises InvalidSamples that names all wrong fields."""
    if not isinstance(given, list):
        raise InvalidSamples({"samples": Fact("pushed_no_list")})
    if not 1 <= len(given) <= MOST_SAMPLES:
        raise InvalidSamples({"samples": Fact("pushed_count", {"n": len(given), "most": MOST_SAMPLES})})
    errors: dict[str, Fact] = {}
    found: list[PushedValue] = []
    for place, one in enumerate(given):
        sample = _sample(f"samples.{place}", one, units, errors)
        if sample is not None:
            found.append(sample)
        if len(errors) >= MOST_NAMED:
            break
    if errors:
        raise InvalidSamples(errors)
    return found


def _sample(path: str, one: Any, units: Units, errors: dict[str, Fact]) -> PushedValue | None:
    if not isinstance(one, dict):
        errors[path] = Fact("pushed_no_object")
        return None
    before = len(errors)
    for name in one.keys() - set(FIELDS):
        errors[f"{path}.{short(name)}"] = Fact("pushed_unknown_field", {"known": ", ".join(FIELDS)})
    metrics = _metrics(path, one, units, errors)
    instance = one.get("instance")
    if instance is not None and not (
        isinstance(instance, str) and len(instance) <= LONGEST_INSTANCE and instance.isprintable()
    ):
        errors[f"{path}.instance"] = Fact("pushed_instance", {"most": LONGEST_INSTANCE})
    try:
        at = moment_of(one.get("at"))
    except ValueError:
        errors[f"{path}.at"] = Fact("pushed_at", {"value": short(one["at"])})
    if len(errors) > before:
        return None
    if metrics.empty:
        errors[path] = Fact("pushed_empty")
        return None
    return PushedValue(at, instance or "", metrics)


def _metrics(path: str, one: dict[str, Any], units: Units, errors: dict[str, Fact]) -> Metrics:
    metrics = Metrics()
    for name in BOUNDS:
        if one.get(name) is not None:
            try:
                setattr(metrics, name, checked(one, name, units))
            except InvalidPayload as error:
                errors[f"{path}.{name}"] = error.fact
    try:
        metrics.custom = custom_of(one)
    except InvalidPayload as error:
        errors[f"{path}.{error.field}"] = error.fact
    return metrics


def moment_of(value: Any) -> datetime | None:
    """Return a time of JSON: ISO 8601 with an offset, or seconds since 1970. Raises ValueError."""
    if value is None:
        return None
    if isinstance(value, str):
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise ValueError("no offset")
        value = found.timestamp()
    if type(value) not in (int, float):
        raise ValueError("no time")
    return datetime.fromtimestamp(min(max(value, 0), LAST_S), UTC)


def columns_of(samples: Sequence[PushedValue]) -> dict[str, str]:
    """Return the columns of WRITE."""
    rows = [
        (one.at, one.instance, *METRICS_OF(one.metrics), json.dumps(one.metrics.custom) if one.metrics.custom else None)
        for one in samples
    ]
    return {f"column{place}": array(column) for place, column in enumerate(zip(*rows, strict=True))}


def take_usual(key: SeenKey, counter: Counter, env: Any, given: Any) -> Taken | None:
    """Take a call of a key and for an environment that were seen before, in one statement.

    Returns: None where they were not, or are not as they were: then nothing was written, and nothing counted.
    Raises InvalidSamples.
    """
    known = _seen.get((key.id, env)) if isinstance(env, str) else None
    if known is None:
        return None
    environment, units = known
    samples = parse_samples(given, units)
    place = {"environment": str(environment), "env": env, "units": units_text(units)}
    rows = prepared(USUAL, {**key.calling(counter), **place, **columns_of(samples)})
    if not rows:
        return None
    [(used, found, *result)] = rows
    if found is None:
        _seen.pop((key.id, env), None)
        return Taken(used=used, stored=False)
    return taken(len(samples), result, used)


def units_text(units: Units) -> str:
    """Return units as UNITS does."""
    return " ".join(getattr(units, metric) for metric in METRICS_WITH_UNITS)


def taken(count: int, result: Sequence[Any], used: int | None = None) -> Taken:
    written, late, early = result
    refused = len(late or ()) + len(early or ())
    return Taken(written, count - refused - written, late or (), early or (), used)


def take(project: Project, env: str, given: Any, *, key_id: int | None = None) -> Taken:
    """Take samples for an environment.

    One that nothing measures yet is measured by them from now on, where the project adopts endpoints. Raises
    UnknownEnvironment, ProjectArchived, NotPushed, InvalidSamples.
    """
    environment = environment_named(project, env)
    samples = parse_samples(given, environment.units)
    return take_samples(environment, samples, key_id=key_id)


def environment_named(project: Project, env: str) -> Environment:
    """Return the environment that takes samples. Raises UnknownEnvironment, ProjectArchived."""
    environment = project.environments.not_deleted().filter(name=env).first()
    if environment is None:
        raise unknown_environment(project, env)
    if project.is_archived:
        raise ProjectArchived("project_archived", name=project.name)
    environment.project = project
    return environment


def take_samples(environment: Environment, samples: Sequence[PushedValue], *, key_id: int | None = None) -> Taken:
    """Store samples for an environment, see `take`. Raises NotPushed."""
    notes = begin_pushing(environment)
    if key_id is not None:
        if len(_seen) >= SEEN_MOST:
            _seen.clear()
        _seen[key_id, environment.name] = environment.pk, environment.units
    [row] = prepared(INSERT, {"environment": str(environment.pk), **columns_of(samples)})
    found = taken(len(samples), row)
    found.notes.extend(notes)
    return found


def begin_pushing(environment: Environment) -> list[Fact]:
    """Have an environment that nothing measures measured by what is pushed; return a note of that.

    Raises NotPushed where it is measured in another way, or its project adopts nothing.
    """
    if KIND in environment.source_kinds:
        return []
    with transaction.atomic():
        locked = Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)
        if KIND in locked.source_kinds:
            return []
        if locked.measured:
            kinds = ", ".join(locked.source_kinds) or "endpoint"
            raise NotPushed("pushed_measured_otherwise", field="env", name=locked.name, kinds=kinds)
        if not environment.project.adopt_endpoints:
            raise NotPushed("pushed_not_adopted", field="env", name=locked.name)
        add_source(locked, KIND, {})
    return [Fact("pushed_adopted", {"name": environment.name})]
