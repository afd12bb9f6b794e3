"""Build the context of the page of a deployment."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.http import HttpRequest

from accounts.permissions import Action
from analysis.charts import Before, Chart, Span, draw, span_of
from analysis.evidence import FAILED_AND_ANSWERED, detail_of, observed_until, policy_of, problem_of_control
from analysis.judge.types import METRICS, OK, UNREACHABLE, Check, Verdict
from analysis.models import Feedback, What
from analysis.outbox import failed_checks
from common.links import public_link
from dashboard import labels
from dashboard.deployments.evidence_view import evidence_view
from dashboard.deployments.forge import forge_of
from dashboard.deployments.forms import AcknowledgeForm, FeedbackForm
from dashboard.deployments.queries import MISSED, Detail, last_good_before, seconds_until
from dashboard.deployments.rollbacks import rollback_view
from dashboard.deployments.summary import summary_of
from dashboard.deployments.timeline import how_taken, timeline_of
from dashboard.deployments.way_back import safe_link, way_back
from dashboard.findings import finding_in_words
from dashboard.i18n import message
from dashboard.policies.queries import readable
from dashboard.sources.queries import Row as SourceRow
from dashboard.sources.queries import rows_of as source_rows
from deployments.models import NEVER_JUDGED, State
from metrics.models import MARGIN, MetricSample, Phase
from projects.policy import CustomMetric
from scheduler.models import JobStatus, ScheduledJob

# Of what was said, so much is shown above; the timeline has all of it.
MOST_SAID = 5
RANK = {"critical": 0, "warning": 1, "ok": 2, "skipped": 3}
PHASE_ORDER = ("history", Phase.BASELINE, Phase.PRE, Phase.POST)


@dataclass(frozen=True, slots=True)
class Slot:
    """One place of the window: collected, missing, retrying or waiting."""

    index: int
    state: str


@dataclass(frozen=True, slots=True)
class Miss:
    """A collection without a sample. due_at: None if only the verdict still knows it."""

    phase: str
    index: int
    due_at: datetime | None
    reason: Any
    retrying: bool = False


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One row of the table of samples: a sample, a miss, or neither if still to come.

    taken: how its job took it, if known.
    """

    phase: str
    index: int
    sample: MetricSample | None = None
    miss: Miss | None = None
    taken: str = ""


def page_context(request: HttpRequest, detail: Detail, form: FeedbackForm | None = None) -> dict[str, Any]:
    """Return the context of deployments/deployment.html and its live fragment. form: feedback that was refused."""
    deployment, verdict = detail.deployment, detail.verdict
    final = verdict.judged_at_end if verdict is not None else None
    charts = charts_of(detail)
    may_mark = Action.MARK_VERDICT in detail.actions and verdict is not None
    misses = misses_of(detail)
    said = detail.acknowledgements
    ignored = said[-1].reason if said and said[-1].what == What.IGNORED else ""
    post = detail.samples_of(Phase.POST)
    custom = custom_metrics(detail)
    counts_instances = any(sample.instances is not None for sample in detail.samples)
    rollback = rollback_view(detail)
    standing = verdict.standing.verdict if verdict is not None else None
    # A final verdict that confirms an early one knows more than it.
    confirmed = final is not None and verdict is not None and final.verdict.verdict == verdict.verdict
    shown = final if confirmed else verdict.judged if verdict is not None else None
    finding = finding_in_words(shown, deployment) if shown is not None else ""
    good = last_good_before(deployment) if standing is not None and standing.verdict != OK else None
    forge = forge_of(deployment.url)
    back = way_back(deployment, good, forge) if good is not None else None
    lead = lead_of(charts, standing)
    link = public_link("dashboard:deployment", deployment.uuid, request=request)
    return {
        "detail": detail,
        "deployment": deployment,
        "verdict": verdict,
        "status": detail.status,
        "confidence_width": f"{verdict.confidence * 100:.0f}" if verdict is not None else "0",
        "in_progress": detail.in_progress,
        "is_live": detail.in_progress or (rollback is not None and rollback.is_under_way),
        "window_is_open": detail.window_is_open,
        "final": final,
        "finding": finding,
        "confirmed": confirmed,
        "back": back,
        "commit_link": forge.commit(deployment.commit_sha) if forge is not None else "",
        "page_link": link,
        "summary": summary_of(deployment, label=detail.status.label, finding=finding, back=back, link=link),
        "standing": standing,
        "revised": verdict.replaced[-1] if verdict is not None and verdict.replaced else None,
        "basis": evidence_view(detail),
        "feedback": detail.feedback,
        "says_no_more": says_no_more(detail.feedback),
        "ignored": ignored,
        "feedback_form": form or (FeedbackForm(verdict, ignored=ignored) if may_mark and verdict is not None else None),
        "rollback": rollback,
        "acknowledgements": said[-MOST_SAID:],
        "said_earlier": len(said[:-MOST_SAID]),
        "acknowledge_form": AcknowledgeForm() if may_acknowledge(detail) else None,
        "running": deployment.state in (State.PENDING, State.RUNNING),
        "never_judged": deployment.state in NEVER_JUDGED,
        "hints": detail.hints,
        "more_hints": len(detail.hints) - 1,
        "lead": lead,
        "charts": [chart for chart in charts if chart is not lead],
        "drawn": legend_of(charts),
        "checks": by_gravity(verdict.judged.verdict.checks) if verdict is not None else [],
        "final_checks": by_gravity(final.verdict.checks) if final is not None else [],
        "quality": standing.quality if standing is not None else None,
        "sources": sources_of(detail),
        "slots": slots_of(detail),
        "collected": len(post),
        "control_problem": problem_of_control(deployment),
        "misses": [miss for miss in misses if not miss.retrying],
        "retrying": [miss for miss in misses if miss.retrying],
        "sample_rows": sample_rows(detail, misses),
        "timeline": timeline_of(detail),
        "actions": actions_on(detail),
        "settles_in": seconds_until(deployment.window_starts_at),
        "verdict_due_in": seconds_until(deployment.window_ends_at),
        "link": safe_link(deployment.url),
        "metrics": METRICS,
        "custom_metrics": custom,
        "counts_instances": counts_instances,
        "sample_columns": len(METRICS) + len(custom) + counts_instances + 1,
    }


def sources_of(detail: Detail) -> list[SourceRow]:
    """Return what measures the environment, each with its latest trouble if that was in the deployment's time.

    One query, none where only the metrics endpoint is asked.
    """
    deployment = detail.deployment
    if not deployment.environment.source_kinds:
        return []
    begun, ended = deployment.started_at, observed_until(deployment) + MARGIN
    return [
        row
        if row.source.failed_at is not None and begun <= row.source.failed_at <= ended
        else replace(row, problem=None)
        for row in source_rows(deployment.environment)
    ]


def may_acknowledge(detail: Detail) -> bool:
    """Return whether the user is offered to acknowledge the deployment: not if it is fine."""
    verdict = detail.verdict
    if Action.ACKNOWLEDGE not in detail.actions:
        return False
    is_fine = verdict is None or (verdict.standing.verdict.verdict == OK and verdict.healthy != "no")
    return not is_fine or bool(detail.acknowledgements)


def says_no_more(feedback: Feedback | None) -> bool:
    """Return whether a mark says "wrong" and nothing else."""
    return feedback is not None and not feedback.right and not feedback.should_have_been and not feedback.reason


def by_gravity(checks: Iterable[Check]) -> list[Check]:
    """Return the checks, most severe first."""
    return sorted(checks, key=lambda check: RANK.get(check.outcome, len(RANK)))


def charts_of(detail: Detail) -> list[Chart]:
    """Return the charts of the metrics that were measured, with the final checks; empty without samples."""
    excluded = {(one.phase, one.collected_at) for one in detail.excluded}
    left_out = {one.pk for one in (*detail.samples, *detail.baseline) if (one.phase, one.collected_at) in excluded}
    samples = [one for one in detail.samples if one.phase in (Phase.PRE, Phase.POST) and one.pk not in left_out]
    earlier = Before(
        history=detail.history,
        baseline=[one for one in detail.baseline if one.pk not in left_out],
        left_out=[one for one in (*detail.samples, *detail.baseline) if one.pk in left_out],
    )
    if not detail.samples and not detail.baseline:
        return []
    checks = detail.verdict.standing.verdict.checks if detail.verdict is not None else ()
    # An unreachable endpoint says nothing about the level of a metric.
    about_levels = [check for check in checks if check.rule != UNREACHABLE]
    by_metric = gravest(about_levels)
    # A check without a limit must not hide the limit of another one.
    drawn = {**by_metric, **gravest(check for check in about_levels if check.limit is not None)}
    shown = {metric: replace(check, outcome=by_metric[metric].outcome) for metric, check in drawn.items()}
    span = span_with_missed(detail)
    beside: dict[str, Any] = {
        "earlier": earlier,
        "control": [one for one in detail.control if one.phase == Phase.POST],
    }
    charts = [draw(metric, samples, span, shown.get(metric), **beside) for metric in METRICS]
    charts += [
        draw(one.name, samples, span, shown.get(one.name), custom=one, **beside) for one in custom_metrics(detail)
    ]
    return [chart for chart in charts if chart.pre or chart.post or chart.outcome not in ("", "skipped")]


def lead_of(charts: list[Chart], verdict: Verdict | None) -> Chart | None:
    """Return the chart of the metric that the finding is about; None where nothing failed, or it has none."""
    failed = [check["metric"] for check in failed_checks(verdict)] if verdict is not None else []
    by_metric = {chart.metric: chart for chart in charts}
    return next((by_metric[metric] for metric in failed if metric in by_metric), None)


def custom_metrics(detail: Detail) -> tuple[CustomMetric, ...]:
    """Return the custom metrics of the policy that it was judged by, or will be."""
    verdict = detail.verdict
    policy = readable(verdict.standing.verdict.policy) if verdict is not None else policy_of(detail.deployment)
    return policy.custom_metrics if policy is not None else ()


def span_with_missed(detail: Detail) -> Span:
    deployment = detail.deployment
    start = deployment.finished_at or deployment.started_at
    lost = [job for job in detail.missed if job.phase == Phase.POST]
    missed = ((job.scheduled_at - start).total_seconds() for job in lost if job.scheduled_at >= start)
    return span_of(deployment, tuple(missed))


def legend_of(charts: list[Chart]) -> dict[str, bool]:
    """Return which optional marks the charts use."""
    kinds = {point.kind for chart in charts for point in (*chart.pre, *chart.post)}
    return {
        "baseline": "baseline" in kinds,
        "history": "history" in kinds,
        "left_out": "left-out" in kinds,
        "band": any(chart.band is not None for chart in charts),
        "limit": any(chart.limit is not None for chart in charts),
        "over": any(chart.over for chart in charts),
        "control": any(chart.control for chart in charts),
    }


def gravest(checks: Iterable[Check]) -> dict[str, Check]:
    """Return the most severe check of each metric, whose limit is drawn."""
    return {check.metric: check for check in reversed(by_gravity(checks))}


def misses_of(detail: Detail) -> list[Miss]:
    """Return collections without a sample (yet), from their jobs, or from the verdict if the jobs are deleted."""
    if not detail.collections and detail.verdict is not None:
        return [
            Miss(miss.phase, miss.sequence_index, None, in_words(miss.reason))
            for miss in detail.verdict.standing.judged_on.misses
        ]
    return [
        Miss(
            phase=phase_of(job),
            index=job.sequence_index,
            due_at=job.scheduled_at,
            reason=reason_of(job),
            retrying=job.status == JobStatus.PENDING,
        )
        for job in detail.collections
        if job.status in MISSED or is_retrying(job)
    ]


def reason_of(job: ScheduledJob) -> Any:
    """Return why a collection brought nothing, with what the endpoint answered instead, if that is known."""
    why = detail_of(job)
    if why is not None and why.code == FAILED_AND_ANSWERED:
        return message(why)
    return job.shown_error or in_words(job.error_code or str(job.status))


def in_words(code: str) -> Any:
    """Return the display text of a reason; unknown codes unchanged."""
    return labels.REASONS.get(code, code)


def phase_of(job: ScheduledJob) -> str:
    return Phase.PRE if job.job_type == "pre_collect" else Phase.POST


def is_retrying(job: ScheduledJob) -> bool:
    return job.status == JobStatus.PENDING and bool(job.last_error)


def slots_of(detail: Detail) -> list[Slot]:
    """Return the places of the window in order; before finish, the planned ones."""
    collected = {sample.sequence_index for sample in detail.samples_of(Phase.POST)}
    jobs = {job.sequence_index: job for job in detail.collections if phase_of(job) == Phase.POST}
    planned = range(1, detail.deployment.window_samples + 1)
    return [
        Slot(index, slot_state(jobs.get(index), collected=index in collected))
        for index in sorted(collected | set(jobs)) or planned
    ]


def slot_state(job: ScheduledJob | None, *, collected: bool) -> str:
    if collected:
        return "collected"
    if job is None:
        return "waiting"
    if job.status in MISSED:
        return "missed"
    return "retrying" if is_retrying(job) else "waiting"


def sample_rows(detail: Detail, misses: list[Miss]) -> list[SampleRow]:
    """Return samples, misses and pending places, PRE first, each phase in order.

    All places of the window exist from the start, so that a new sample does not move the page.
    """
    jobs = {(phase_of(job), job.sequence_index): job for job in detail.collections}
    rows = [SampleRow("history", 0, sample) for sample in detail.history]
    for one in (*detail.baseline, *detail.samples):
        job = jobs.get((one.phase, one.sequence_index)) if one.deployment_id is not None else None
        rows.append(SampleRow(one.phase, one.sequence_index, one, taken=how_taken(job) if job is not None else ""))
    rows += [SampleRow(miss.phase, miss.index, miss=miss) for miss in misses if not miss.retrying]
    if detail.in_progress and rows:
        known = {row.index for row in rows if row.phase == Phase.POST}
        to_come = [slot.index for slot in slots_of(detail) if slot.index not in known]
        rows += [SampleRow(Phase.POST, index) for index in to_come]
    return sorted(rows, key=lambda row: (PHASE_ORDER.index(row.phase) if row.phase in PHASE_ORDER else 0, row.index))


def actions_on(detail: Detail) -> dict[str, bool]:
    """Return which actions to offer to the user now."""
    deployment = detail.deployment
    judged = detail.verdict is not None and not detail.window_is_open
    over = deployment.finished_at is not None and not detail.in_progress
    return {
        "compare": deployment.finished_at is not None,
        "replay": judged and Action.REPLAY in detail.actions,
        "rerun": over and Action.RERUN_ANALYSIS in detail.actions,
    }
