"""Ask the sources of an environment, and merge what they know into samples."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from explain.errors import ExplainedError
from explain.facts import Fact
from metrics.models import Group
from metrics.payload import ERROR_ASKS, METRICS, Metrics
from metrics.sources import source_kind
from metrics.sources.base import Asking, Past, SourceConfig, SourceKind, State
from metrics.sources.http_endpoint import Configured
from scheduler.registry import JobError
from security.encryption import Sealed

# What a deployment is compared with (analysis/evidence.py), and the days whose same minutes are asked for.
PAST = timedelta(minutes=30)
STEP_S = 60.0
EARLIER_DAYS = (1, 2, 7)
# Of a source that gave something, and not all.
NOTES = "source_notes"


@dataclass(slots=True)
class Measured:
    """What sources gave: samples with their times, the levels of earlier days, and how each source did, by its id.

    told: see Asking; states: what sources keep until the next sample, by their id and group.
    """

    metrics: Metrics
    past: Past = ()
    days: Past = ()
    troubles: dict[int, Fact | None] = field(default_factory=dict)
    told: Sequence[Fact] = ()
    states: dict[tuple[int, str], bytes] = field(default_factory=dict)


@lru_cache(maxsize=4096)
def opened(kind: str, token: str) -> tuple[SourceKind[Any], SourceConfig]:
    """Return a source's kind and configuration. Raises JobError."""
    known = source_kind(kind)
    if known is None:
        raise JobError("unknown_source", kind=kind, retry=False)
    try:
        return known, known.parse(json.loads(Sealed(token).open()))
    except ImproperlyConfigured:
        raise JobError("unreadable_secret", retry=False) from None
    except ValueError:  # written by a version that knew other settings
        raise JobError("unusable_source", kind=kind, retry=False) from None


async def measure(sources: Sequence[Configured], asking: Asking, *, past: bool = False) -> Measured:
    """Ask all sources at once. past: for what they know of the time before and of earlier days as well.

    Raises: JobError where not one of them gave a metric.
    """
    asked = await asyncio.gather(*(ask(one, asking, past=past) for one in sources), return_exceptions=True)
    troubles: dict[int, Fact | None] = {}
    given: list[Measured] = []
    failures: list[JobError] = []
    of_service: list[JobError] = []
    for one, result in zip(sources, asked, strict=True):
        if isinstance(result, Measured):
            given.append(result)
            troubles[one.pk] = Fact(NOTES, {"notes": result.told}) if result.told else None
        elif isinstance(result, ExplainedError):
            failure = result if isinstance(result, JobError) else JobError.of(result, retry=result.code != "blocked")
            failures.append(failure)
            troubles[one.pk] = failure.fact
            known = source_kind(one.kind)
            if known is None or known.of_service:
                of_service.append(failure)
        else:
            raise result
    found = Measured(
        merged([one.metrics for one in given]),
        merged_past([one.past for one in given]),
        merged_past([one.days for one in given]),
        troubles,
        states={key: state for one in given for key, state in one.states.items()},
    )
    if found.metrics.empty and not found.past:
        raise failed(failures, of_service, troubles)
    return found


def failed(
    failures: Sequence[JobError], of_service: Sequence[JobError], troubles: Mapping[int, Fact | None]
) -> JobError:
    """Return the failure of all sources: that of one that asks the service itself, if there is any.

    That something else, which knows the service's metrics, does not answer is no sign that the service is down.
    """
    notes = [Fact("source_trouble", {"source": pk, "problem": fact}) for pk, fact in troubles.items() if fact]
    if of_service:
        return JobError.of(of_service[0], retry=of_service[0].retry, sources=notes)
    if failures:
        return JobError("source_failed", problem=failures[0].fact, retry=failures[0].retry, sources=notes)
    return JobError("nothing_measured", sources=notes)


async def ask(source: Configured, asking: Asking, *, past: bool) -> Measured:
    """Ask one source. Raises JobError, OutboundError."""
    kind, config = opened(source.kind, source.config.token)
    state = State(source.states.get(str(asking.group), b""))
    asking = replace(asking, told=[], state=state)
    now = await kind.read(config, asking)
    states = {} if state.after is None else {(source.pk, str(asking.group)): state.after}
    if not (past and kind.ranged):
        return Measured(now, told=once(asking.told), states=states)
    until = asking.instant
    spans = [(until - PAST, until - timedelta(seconds=STEP_S))]
    if asking.group == Group.TREATMENT:
        # Levels are of the environment.
        spans += [(until - timedelta(days=days) - PAST, until - timedelta(days=days) + PAST) for days in EARLIER_DAYS]
    histories = [kind.history(config, asking, since=since, until=until, step_s=STEP_S) for since, until in spans]
    pasts: list[Past] = []
    for past_of in await asyncio.gather(*histories, return_exceptions=True):
        if isinstance(past_of, ExplainedError):
            # Less history is no reason to have no sample of now.
            asking.told.append(Fact("source_without_history", {"problem": past_of.fact}))
        elif isinstance(past_of, BaseException):
            raise past_of
        pasts.append([] if isinstance(past_of, ExplainedError) else past_of)
    days = [sample for past_of in pasts[1:] for sample in past_of]
    return Measured(now, pasts[0], days, told=once(asking.told), states=states)


async def history_of(
    sources: Sequence[Configured],
    asking: Asking,
    *,
    since: datetime,
    until: datetime,
    step_s: float,
    failures: list[ExplainedError] | None = None,
) -> Past:
    """Return what those of the sources that can answer for the past know of it.

    What fails is left out, and added to `failures`.
    """
    histories = []
    for one in sources:
        try:
            kind, config = opened(one.kind, one.config.token)
        except JobError as error:
            if failures is not None:
                failures.append(error)
            continue
        if kind.ranged and (asking.group == Group.TREATMENT or kind.control == "selector"):
            histories.append(kind.history(config, asking, since=since, until=until, step_s=step_s))
    pasts = await asyncio.gather(*histories, return_exceptions=True)
    for past in pasts:
        if isinstance(past, ExplainedError) and failures is not None:
            failures.append(past)
        elif isinstance(past, BaseException) and not isinstance(past, ExplainedError):
            raise past
    return merged_past([past for past in pasts if not isinstance(past, BaseException)])


def once(facts: Sequence[Fact]) -> list[Fact]:
    """Return the facts without those that say the same again."""
    found: list[Fact] = []
    for fact in facts:
        if fact not in found:
            found.append(fact)
    return found


def merged(readings: Sequence[Metrics]) -> Metrics:
    """Return what sources know together: of each metric the value of the first one that knows it."""
    found = Metrics()
    for reading in readings:
        custom = reading.custom
        if found.error_rate is not None:
            custom = {name: value for name, value in custom.items() if name != ERROR_ASKS}
        for name in METRICS:
            if getattr(found, name) is None:
                setattr(found, name, getattr(reading, name))
        found.custom = {**custom, **found.custom}
        found.instances = found.instances if found.instances is not None else reading.instances
    return found


def merged_past(pasts: Sequence[Past]) -> Past:
    """Return what sources know of the past together, by the minute, oldest first."""
    times: dict[datetime, list[Metrics]] = {}
    for past in pasts:
        for at, metrics in past:
            times.setdefault(at, []).append(metrics)
    return [(at, merged(times[at])) for at in sorted(times)]
