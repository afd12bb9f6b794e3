"""What pages call things: states, verdicts, metrics, outcomes. Every text here is translated when it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from analysis.judge.types import OK, ROLLBACK, WARNING
from analysis.models import DeploymentVerdict
from analysis.rerun import Refusal
from analysis.texts.metrics import REASONS as REASON_TEXTS
from deployments.models import Deployment, State


@dataclass(frozen=True, slots=True)
class Status:
    """How a deployment stands: `key` picks the colour and `icon` the shape, `label` is the text beside it."""

    key: str
    icon: str
    label: Any

    @property
    def tab_icon(self) -> str:
        """The static file that a browser's tab shows; its shapes differ, not only its colours."""
        return f"seqpulse/icons/{TAB_ICONS.get(self.icon, 'unknown')}.svg"


# At the size of a tab's icon, what goes on looks alike.
TAB_ICONS = {
    "ok": "ok",
    "warning": "warning",
    "rollback": "rollback",
    "observing": "observing",
    "running": "observing",
    "pending": "observing",
}

VERDICTS = {
    OK: Status("ok", "ok", _("OK")),
    WARNING: Status("warning", "warning", _("Warning")),
    ROLLBACK: Status("critical", "rollback", _("Rollback recommended")),
}
STATES = {
    State.PENDING: Status("neutral", "pending", _("Pending")),
    State.RUNNING: Status("info", "running", _("Deploying")),
    State.FINISHED: Status("info", "observing", _("Under observation")),
    State.ANALYZED: Status("neutral", "unknown", _("No verdict stored")),
    State.ABANDONED: Status("neutral", "unknown", _("Abandoned: no finish came")),
    State.SUPERSEDED: Status("neutral", "unknown", _("Superseded by the next deployment")),
}
UNKNOWN = Status("neutral", "unknown", _("Unknown"))

SEVERITIES = {
    "critical": Status("critical", "rollback", _("Critical")),
    "warning": Status("warning", "warning", _("Warning")),
    "info": Status("info", "info", _("Info")),
}
OUTCOMES = {
    "critical": Status("critical", "rollback", _("Failed, critical")),
    "warning": Status("warning", "warning", _("Failed")),
    "ok": Status("ok", "ok", _("Passed")),
    "skipped": Status("neutral", "unknown", _("Not judged")),
}
# As headings; other languages write the names within sentences (analysis/texts/metrics.py) differently.
METRICS = {
    "requests_per_sec": _("Traffic"),
    "latency_p95": pgettext_lazy("heading", "p95 latency"),
    "error_rate": _("Error rate"),
    "cpu_usage": pgettext_lazy("heading", "CPU usage"),
    "memory_usage": _("Memory usage"),
}
RESULTS = {
    "success": _("Success"),
    "failed": _("Failed"),
    "cancelled": _("Cancelled"),
}
PHASES = {
    "baseline": _("Baseline"),
    "pre": _("Before"),
    "post": _("After"),
    "history": _("Earlier deployment"),
    "left-out": _("Left out"),
}
# What a deployment was compared with.
ORIGINS = {
    "pre": _("taken when the deployment began"),
    "baseline": _("of the baseline: the half hour before, while nothing was deployed"),
    "history": _("from the windows of the last good deployments, because there was little else"),
}

POLICY_KINDS = {
    "adaptive": _("Adaptive: compare with the service's own level"),
    "fixed": _("Fixed: the same limits, whatever the service's level"),
}
SENSITIVITIES = {
    "low": _("Low: only large effects count"),
    "normal": _("Normal"),
    "high": _("High: smaller effects count, too"),
}
# The same, beside other things.
IN_SHORT = {
    "adaptive": pgettext_lazy("policy", "adaptive"),
    "fixed": pgettext_lazy("policy", "fixed"),
    "low": pgettext_lazy("sensitivity", "low"),
    "normal": pgettext_lazy("sensitivity", "normal"),
    "high": pgettext_lazy("sensitivity", "high"),
    "shadow": _("shadow mode"),
}
POLICY_SOURCES = {"dashboard": _("dashboard"), "file": _("seqpulse.toml"), "admin": _("admin")}

# Why a collection brought nothing, where its job kept no words of its own: as the judge says it, or more plainly.
REASONS = {
    **{code: _(text) for code, text in REASON_TEXTS.items()},
    "unauthorized": _("not authorized: the HMAC secret is wrong"),
    "blocked": _("the address may not be called"),
    "blocked_by_ops": _("not asked: the operators of SeqPulse have blocked this endpoint"),
    "failed": _("failed"),
    "expired": _("expired: no poller ran in time"),
}

# Why an analysis cannot run again.
REFUSALS = {
    Refusal.NOT_FINISHED: _("The pipeline has not called finish yet, so there is nothing to judge."),
    Refusal.NEVER_JUDGED: _("This deployment ended without a finish, so it was not observed and cannot be judged."),
    Refusal.WINDOW_OPEN: _(
        "Its samples are still coming in. It will be judged automatically at the end of the window."
    ),
    Refusal.UNDER_WAY: _("Its analysis is under way. The verdict will follow automatically."),
    Refusal.SAMPLES_GONE: _("Samples that the verdict rests on are no longer stored, so it cannot be judged again."),
    Refusal.TOO_OFTEN: _("This verdict has been revised as often as it may be."),
    Refusal.NOTHING_NEW: _("The analysis says the same as what is recorded. There is nothing to store."),
    Refusal.CHANGED_MEANWHILE: _(
        "What the analysis says has changed since you looked. Look again before you store it."
    ),
}

# From which confidence (0..1) it is called so.
CONFIDENCE = ((0.85, _("high")), (0.6, _("moderate")), (0.0, _("low")))


def status_of(deployment: Deployment, verdict: DeploymentVerdict | None) -> Status:
    """The verdict if one stands, else the state: a deployment without a verdict never reads as ok."""
    if verdict is not None:
        return VERDICTS.get(verdict.verdict, UNKNOWN)
    return STATES.get(State(deployment.state), UNKNOWN) if deployment.state in State.values else UNKNOWN


def confidence_word(confidence: float) -> Any:
    """Confidence 0..1 in a word."""
    return next(word for least, word in CONFIDENCE if confidence >= least or least == 0.0)


def status_by_name(name: str) -> Status:
    """A verdict as a badge, by its name."""
    return VERDICTS.get(name, UNKNOWN)
