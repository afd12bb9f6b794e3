"""Build the timeline of a deployment from everything stored with a time.

A further source is one function from Detail to entries, listed in SOURCES.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from analysis.recorded import Recorded
from dashboard import labels
from dashboard.deployments.acknowledgements import said_in_short
from dashboard.deployments.queries import MISSED, Detail
from dashboard.i18n import localised, quantity
from deployments.models import State
from metrics.models import MetricSample, Phase
from notifications.headlines import fact_of
from notifications.models import AttemptState, Result, RollbackAttempt
from notifications.rollbacks.attempts import AUTOMATIC, VERIFY_WITHIN_MINUTES
from projects.models import RollbackPolicy
from scheduler.models import JobStatus, ScheduledJob
from scheduler.words import shown

# A collection claimed later than this is shown as late.
LATE_S = 5.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One event.

    event: machine-readable name; icon, key: shape and colour; what: text; note: details; offset_s: seconds from finish,
    or from trigger without a finish. Texts are in the active language.
    """

    at: datetime
    event: str
    icon: str
    key: str
    what: str
    note: Any = ""
    offset_s: float = 0.0

    @property
    def offset(self) -> float:
        return abs(self.offset_s)

    @property
    def before(self) -> bool:
        return self.offset_s < 0


def timeline_of(detail: Detail) -> list[Entry]:
    """Return the entries, oldest first; simultaneous ones in the order of SOURCES."""
    zero = detail.deployment.finished_at or detail.deployment.started_at
    entries = [entry for source in SOURCES for entry in source(detail)]
    return [_placed(entry, zero) for entry in sorted(entries, key=lambda entry: entry.at)]


def _placed(entry: Entry, zero: datetime) -> Entry:
    return replace(entry, offset_s=(entry.at - zero).total_seconds())


def pipeline(detail: Detail) -> Iterator[Entry]:
    """Yield the calls of CI."""
    deployment = detail.deployment
    change = " · ".join(filter(None, (deployment.branch, deployment.commit_sha[:8], deployment.version)))
    yield Entry(deployment.started_at, "trigger", "running", "info", _("The pipeline called trigger"), change)
    if deployment.finished_at is not None:
        result = labels.RESULTS.get(deployment.pipeline_result, deployment.pipeline_result)
        yield Entry(deployment.finished_at, "finish", "finish", "info", _("The pipeline called finish"), result)
    if deployment.state == State.SUPERSEDED and deployment.superseded_by is not None:
        by = deployment.superseded_by
        what = _("Superseded by #%(number)s") % {"number": by.number}
        yield Entry(by.started_at, "superseded", "unknown", "neutral", what)


def steps(detail: Detail) -> Iterator[Entry]:
    """Yield the steps of a stepwise rollout, with their verdicts."""
    for step in detail.steps:
        percent = {"percent": step.percent}
        yield Entry(step.starts_at, "step", "running", "info", _("Step to %(percent)s %% of the traffic") % percent)
        if step.judged is not None and step.judged_at is not None:
            look = labels.VERDICTS[step.verdict]
            what = _("Step %(percent)s %%: %(verdict)s") % {**percent, "verdict": look.label}
            yield Entry(step.judged_at, "step_verdict", look.icon, look.key, what, step.judged.verdict.summary)


def samples(detail: Detail) -> Iterator[Entry]:
    """Yield the samples, with how they were taken if their jobs still exist."""
    jobs = {(_phase(job), job.sequence_index): job for job in detail.collections}
    for sample in detail.samples:
        job = jobs.get((sample.phase, sample.sequence_index))
        note = how_taken(job) if job is not None else ""
        yield Entry(sample.collected_at, "sample", "sample", "ok", _sample_name(sample), note)


def retries(detail: Detail) -> Iterator[Entry]:
    """Yield failed runs of collections and of the analysis, and their consequences."""
    for job in (*detail.collections, *detail.analyses):
        runs = [one for one in job.history or [] if isinstance(one, Mapping)] if isinstance(job.history, list) else []
        # The last failure of a failed job is reported by `misses`.
        ended = [one for one in runs if one.get("event") == "failed"][-1:] if job.status == JobStatus.FAILED else []
        for one in runs:
            at = parse_datetime(str(one.get("at", "")))
            if at is None or one.get("event") == "cancelled" or (one in ended and job in detail.collections):
                continue
            what = _(EVENTS.get(str(one.get("event")), EVENTS["put off"]))
            note = shown(one.get("fact"), str(one.get("error", ""))) or labels.REASONS.get(str(one.get("code")), "")
            yield Entry(at, "retry", "retry", "warning", what % {"job": _job_name(job)}, note)


def misses(detail: Detail) -> Iterator[Entry]:
    """Yield collections that ended without a sample."""
    for job in detail.collections:
        if job.status in MISSED:
            note = job.shown_error or labels.REASONS.get(job.error_code or str(job.status), job.error_code)
            at = job.finished_at or job.scheduled_at
            yield Entry(at, "miss", "miss", "warning", _("%(job)s: no sample") % {"job": _job_name(job)}, note)
    if detail.collections or detail.verdict is None:
        return
    # The jobs are deleted; the verdict keeps their places in the window, and so their times.
    deployment = detail.deployment
    start = deployment.window_starts_at or deployment.started_at
    for miss in detail.verdict.standing.judged_on.misses:
        within = timedelta(seconds=miss.sequence_index * deployment.interval_s)
        due = start + within if miss.phase == "post" else deployment.started_at
        name = _("%(job)s: no sample") % {"job": _place_name(miss.phase, miss.sequence_index)}
        yield Entry(due, "miss", "miss", "warning", name, labels.REASONS.get(miss.reason, miss.reason))


def verdicts(detail: Detail) -> Iterator[Entry]:
    """Yield early and final verdicts, and earlier results that were revised."""
    verdict = detail.verdict
    if verdict is None:
        return
    revisions = verdict.replaced
    first = verdict.judged if verdict.early or not revisions else revisions[0].recorded
    what = _("Early verdict: %(verdict)s") if verdict.early else _("Verdict: %(verdict)s")
    yield _verdict_entry("verdict", verdict.created_at, what, first, replaced=first is not verdict.judged)
    if verdict.early and verdict.judged_at_end is not None:
        first = revisions[0].recorded if revisions else verdict.judged_at_end
        if first.at is not None:
            what = _("At the end of the window: %(verdict)s")
            yield _verdict_entry("final", first.at, what, first, replaced=bool(revisions))
    # Each rerun produced the result that the next one replaced; the last one is current.
    results = [*(revision.recorded for revision in revisions[1:]), verdict.standing]
    for revision, result in zip(revisions, results, strict=False):
        if revision.replaced_at is not None:
            status = labels.status_by_name(result.verdict.verdict)
            filled = {"who": revision.by or "–", "verdict": status.label}
            what = _("Analysis run again by %(who)s: %(verdict)s") % filled
            yield Entry(revision.replaced_at, "rerun", status.icon, status.key, what)


def _verdict_entry(event: str, at: datetime, what: str, recorded: Recorded, *, replaced: bool) -> Entry:
    verdict = recorded.verdict
    status = labels.status_by_name(verdict.verdict)
    # The summary of a replaced verdict is not elsewhere on the page.
    note = verdict.summary if replaced else how_sure(recorded)
    return Entry(at, event, status.icon, status.key, what % {"verdict": status.label}, note)


def feedback(detail: Detail) -> Iterator[Entry]:
    """Yield the mark of the verdict."""
    mark = detail.feedback
    if mark is None:
        return
    who = mark.given_by.get_username() if mark.given_by is not None else "–"
    what = _("Marked right by %(who)s") if mark.right else _("Marked wrong by %(who)s")
    yield Entry(mark.given_at, "feedback", "person", "neutral", what % {"who": who}, mark.reason)


def acknowledgements(detail: Detail) -> Iterator[Entry]:
    """Yield what people said."""
    for one in detail.acknowledgements:
        what = said_in_short({"what": one.what, "who": one.who})
        yield Entry(one.at, "acknowledged", "person", "neutral", what, one.reason)


def events(detail: Detail) -> Iterator[Entry]:
    """Yield a freeze in spite of which it began, what a rollback returns to, and that no finish came."""
    for one in detail.events:
        kind, said = one["kind"], one["parameters"]
        at = datetime.fromisoformat(one["at"])
        if kind == "freeze_forced":
            who = detail.deployment.author or _("the pipeline")
            what = _("Began in spite of the freeze “%(freeze)s”, forced by %(who)s")
            yield Entry(at, kind, "warning", "warning", what % {"freeze": said["frozen"], "who": who}, said["reason"])
        elif kind == "rolled_back" and said.get("rolls_back_to"):
            what = _("It goes back to #%(number)s") % said["rolls_back_to"]
            yield Entry(at, kind, "rollback", "neutral", what)
        elif kind == "deployment_abandoned":
            what = _("Closed without a verdict: no finish came within %(hours)s h")
            yield Entry(at, kind, "unknown", "neutral", what % {"hours": localised(f"{said['hours']:g}")})


def rollbacks(detail: Detail) -> Iterator[Entry]:
    """Yield the steps of the rollback attempt, and what became of the rollback."""
    attempt: RollbackAttempt | None = getattr(detail.deployment, "rollback_attempt", None)
    if attempt is None:
        return
    is_automatic = attempt.via == AUTOMATIC
    if not is_automatic and (attempt.approved_at is None or attempt.made_at < attempt.approved_at):
        yield Entry(attempt.made_at, "rollback_asked", "person", "warning", _("A rollback waits for approval"))
    if attempt.approved_at is not None:
        what = _("Rollback approved by %(who)s") % {"who": attempt.who or "–"}
        if is_automatic:
            what = _("Rollback started without asking, as the environment is set")
        yield Entry(attempt.approved_at, "rollback_approved", "person", "neutral", what)
    if attempt.sending_at is not None:
        yield Entry(attempt.sending_at, "rollback_sent", "rollback", "neutral", _("The request to roll back was sent"))
    if attempt.ended_at is not None and attempt.state in ROLLBACK_ENDINGS:
        icon, key, text = ROLLBACK_ENDINGS[attempt.state]
        note = fact_of(attempt.error) or " ".join(filter(None, (str(attempt.answer_status or ""), attempt.answer)))
        yield Entry(attempt.ended_at, "rollback_ended", icon, key, _(text), note)
    yield from verified(attempt, detail)


def verified(attempt: RollbackAttempt, detail: Detail) -> Iterator[Entry]:
    """Yield the rollback that followed an attempt, and its result."""
    rollback = attempt.rollback
    at = None
    if rollback is not None:
        what = _("Rolled back by #%(number)s") % {"number": rollback.number}
        yield Entry(rollback.started_at, "rolled_back", "rollback", "neutral", what)
        verdict = labels.verdict_of(rollback)
        at = verdict.created_at if verdict is not None else rollback.finished_at or rollback.started_at
    elif attempt.sending_at is not None:
        policy: RollbackPolicy | None = getattr(detail.deployment.environment, "rollback_policy", None)
        minutes = policy.verify_within_minutes if policy is not None else VERIFY_WITHIN_MINUTES
        at = attempt.sending_at + timedelta(minutes=minutes)
    if attempt.result in ROLLBACK_RESULTS and at is not None:
        icon, key, text = ROLLBACK_RESULTS[attempt.result]
        yield Entry(at, "rollback_result", icon, key, _(text))


SOURCES: tuple[Callable[[Detail], Iterator[Entry]], ...] = (
    pipeline,
    events,
    steps,
    samples,
    retries,
    misses,
    verdicts,
    rollbacks,
    acknowledgements,
    feedback,
)

# Icon, colour and text of how the request to roll back ended, and of what became of the rollback.
ROLLBACK_ENDINGS: dict[str, tuple[str, str, str]] = {
    AttemptState.SENT: ("ok", "ok", gettext_noop("The receiver accepted the request to roll back")),
    AttemptState.FAILED: ("rollback", "critical", gettext_noop("The request to roll back failed")),
    AttemptState.UNKNOWN: (
        "unknown",
        "critical",
        gettext_noop("It is unknown whether the request to roll back arrived"),
    ),
    AttemptState.WITHDRAWN: ("warning", "warning", gettext_noop("The request to roll back was not sent")),
}
ROLLBACK_RESULTS: dict[str, tuple[str, str, str]] = {
    Result.WORKED: ("ok", "ok", gettext_noop("The rollback was verified: it worked")),
    Result.NOT_OK: ("rollback", "critical", gettext_noop("The rollback did not work.")),
    Result.MISSING: ("rollback", "critical", gettext_noop("No rollback was deployed in time. Look at your pipeline.")),
}

# Texts of events in a job's history; unknown events are shown like postponed ones.
EVENTS = {
    "put off": gettext_noop("%(job)s failed, to be tried again"),
    "failed": gettext_noop("%(job)s failed"),
    "recovered": gettext_noop("%(job)s was taken back from a poller that was lost"),
    "retried": gettext_noop("%(job)s was started again by hand"),
}


def how_taken(job: ScheduledJob) -> str:
    """Return duration, delay and attempt of a collection."""
    parts: list[str] = []
    if job.started_at is not None and job.finished_at is not None:
        took = max((job.finished_at - job.started_at).total_seconds(), 0.0)
        parts.append(_("took %(seconds)s s") % {"seconds": localised(f"{took:.1f}")})
        late = (job.started_at - job.scheduled_at).total_seconds()
        if late >= LATE_S:
            parts.append(_("%(seconds)s s late") % {"seconds": f"{late:.0f}"})
    if job.retry_count:
        parts.append(_("at try %(number)s") % {"number": job.retry_count + 1})
    return ", ".join(parts)


def how_sure(recorded: Recorded) -> str:
    """Describe the confidence of a verdict, and on how many samples it rests."""
    confidence = recorded.verdict.confidence
    text = _("%(word)s confidence, %(number)s") % {
        "word": labels.confidence_word(confidence),
        "number": quantity(confidence, "whole_percent"),
    }
    text += labels.on_samples(recorded.judged_on)
    return text if recorded.verdict.conclusive else f"{text}, {_('not conclusive')}"


def _phase(job: ScheduledJob) -> str:
    return Phase.PRE if job.job_type == "pre_collect" else Phase.POST


def _job_name(job: ScheduledJob) -> str:
    if job.job_type == "analysis":
        return _("The analysis")
    return _place_name(_phase(job), job.sequence_index)


def _place_name(phase: str, index: int) -> str:
    return _("Sample %(number)s after") % {"number": index} if phase == Phase.POST else _("The sample before")


def _sample_name(sample: MetricSample) -> str:
    if sample.phase == Phase.POST:
        return _("Sample %(number)s after: collected") % {"number": sample.sequence_index}
    return _("The sample before: collected")
