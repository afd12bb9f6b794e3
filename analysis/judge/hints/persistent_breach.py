"""Critical metrics over their lines in (nearly) every sample: not a blip, it will not pass by itself."""

from __future__ import annotations

from analysis.judge.hints.base import Findings, HintText, from_checks
from analysis.judge.types import METRICS, ROLLBACK, Check, Hint
from analysis.told import noop as _
from analysis.wording import percent

# What "persistent" means here, not a limit of a metric: enough samples to speak of a course of time, and nearly all
# of them over the judge's line.
MIN_SAMPLES = 3
MIN_SHARE = 0.8

ERRORS = HintText(
    key="persistent_breach.error_rate",
    title=_("Errors in {share} of all samples: {observed} of requests fail"),
    cause=_(
        "The error rate was over {threshold} in {samples_over} (before: {baseline}), so neither a restart nor a "
        "cold cache explains it: the new version fails for a constant part of the requests, typically one endpoint, "
        "one code path or one setting that is wrong on every instance."
    ),
    impact=_("{observed} of all requests fail (before: {baseline}), and nothing suggests that it will pass by itself."),
    actions=(
        _("Roll back now: it did not recover within {samples}, and waiting longer hurts more users."),
        _("Group the errors since the deployment by exception, endpoint and status code; the top group is the defect."),
        _(
            "Compare configuration and secrets of the new version with the old one's: a missing variable or an expired "
            "credential fails in just this way."
        ),
        _(
            "Check that the migrations of this version were applied, and that the old version still runs on the new "
            "schema before rolling back."
        ),
    ),
    replaces=("high_error_rate",),
)

TRAFFIC = HintText(
    key="persistent_breach.requests_per_sec",
    title=_("Traffic stays at {observed} (before: {baseline})"),
    cause=_(
        "Traffic was below {threshold} in {samples_over} although the service answers without errors: requests no "
        "longer reach it. Typical: instances that fail their readiness check, a route, host name or path that changed "
        "with the deployment, a certificate, or callers that were switched off."
    ),
    impact=_(
        "About {change} of the traffic is missing; these users get their errors elsewhere, unseen by the service."
    ),
    actions=(
        _("Call the public address from outside, through DNS, TLS and the load balancer, not the instance itself."),
        _(
            "Check that all instances are registered and healthy at the load balancer or ingress, and that its routes "
            "match the paths and ports of the new version."
        ),
        _("Look at 404, 502, 503 and TLS errors in the load balancer's log since the deployment."),
        _(
            "Ask whether a caller, campaign, cron or batch ended at this time: compare with the same hour yesterday "
            "and a week ago."
        ),
        _("Roll back if no such reason is found within minutes."),
    ),
    replaces=("traffic_below_baseline",),
)

LATENCY = HintText(
    key="persistent_breach.latency_p95",
    title=_("p95 latency stays at {observed} (before: {baseline})"),
    cause=_(
        "p95 latency was over {threshold} in {samples_over}, so it is neither warm-up nor a blip: requests wait "
        "for something that the old version did not wait for. Typical: a new or unindexed query, a remote call added "
        "to each request, a pool or a number of workers that became too small."
    ),
    impact=_("One request in twenty takes longer than {observed}: users leave, callers time out and try again."),
    actions=(
        _("Roll back now: it did not recover within {samples}, and waiting longer hurts more users."),
        _("Compare p95 per endpoint before and after: one slow endpoint is code, all of them a shared dependency."),
        _("Look at the database's slowest statements since the deployment, and EXPLAIN the ones that are new."),
        _("Look for requests that wait on a connection pool, a lock or a remote service (traces, pool metrics)."),
    ),
    replaces=("high_latency",),
)

OTHER = HintText(
    key="persistent_breach.other",
    title=_("Critical metrics over their lines in {share} of all samples: {metrics}"),
    cause=_(
        "What this environment's policy calls critical ({metrics}) stayed over its line in {samples_over}, from "
        "the first samples on. A warm-up or a blip looks different: it passes."
    ),
    impact=_(
        "The service runs outside the limits its team has set for it ({observed}, line {threshold}) all the time."
    ),
    actions=(
        _("Roll back, unless the change was meant to cost this much."),
        _(
            "Compare the level with before the deployment ({baseline}): a step at the deployment is the new version, a "
            "level that was there before is not."
        ),
        _(
            "If this level is normal for the service, raise the limit in the environment's policy, so that it alarms "
            "for a reason."
        ),
    ),
)

TEXTS = (ERRORS, TRAFFIC, LATENCY, OTHER)
_BY_METRIC = {"error_rate": ERRORS, "requests_per_sec": TRAFFIC, "latency_p95": LATENCY}


def rule(findings: Findings) -> Hint | None:
    """When critical checks failed in at least 80 % of at least three samples, and the verdict is a rollback."""
    if findings.verdict.verdict != ROLLBACK or len(findings.post) < MIN_SAMPLES:
        return None
    checks = [check for metric in METRICS if (check := findings.failed(metric)) is not None and _persists(check)]
    if not checks:
        return None
    checks.sort(key=lambda check: tuple(_BY_METRIC).index(check.metric) if check.metric in _BY_METRIC else len(METRICS))
    text = _BY_METRIC.get(checks[0].metric, OTHER)
    return from_checks(findings, text, checks, values={"share": percent(checks[0].share or 0.0)})


def _persists(check: Check) -> bool:
    return check.outcome == "critical" and (check.share or 0.0) >= MIN_SHARE
