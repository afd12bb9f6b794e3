"""Display names of states, verdicts, metrics and outcomes, translated when shown."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from accounts.models import Role
from analysis.judge.types import OK, ROLLBACK, WARNING
from analysis.models import DeploymentVerdict
from analysis.recorded import JudgedOn
from analysis.rerun import Refusal
from analysis.texts.metrics import REASONS as REASON_TEXTS
from deployments.models import Deployment, State


@dataclass(frozen=True, slots=True)
class Status:
    """A status for display: `key` selects the colour, `icon` the shape; `label` is the text."""

    key: str
    icon: str
    label: Any

    @property
    def tab_icon(self) -> str:
        """Return the static file of the tab's icon; icons differ in shape, not only in colour."""
        return f"seqpulse/icons/{TAB_ICONS.get(self.icon, 'unknown')}.svg"


# At the size of a tab's icon, states in progress share one shape.
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
STATES: dict[str, Status] = {
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
# As headings; within sentences other languages write names differently (analysis/texts/metrics.py).
METRICS = {
    "requests_per_sec": _("Traffic"),
    "latency_p95": pgettext_lazy("heading", "p95 latency"),
    "error_rate": _("Error rate"),
    "cpu_usage": pgettext_lazy("heading", "CPU usage"),
    "memory_usage": _("Memory usage"),
}
INSTANCES = _("Instances")
RESULTS = {
    "success": _("Success"),
    "failed": _("Failed"),
    "cancelled": _("Cancelled"),
}
PHASES = {
    "baseline": _("Baseline"),
    "pre": _("Before"),
    "step": pgettext_lazy("of a rollout", "Step"),
    "post": _("After"),
    "history": _("Earlier deployment"),
    "left-out": _("Left out"),
}
# Origins of the compared samples.
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
# The same in short.
IN_SHORT = {
    "adaptive": pgettext_lazy("policy", "adaptive"),
    "fixed": pgettext_lazy("policy", "fixed"),
    "low": pgettext_lazy("sensitivity", "low"),
    "normal": pgettext_lazy("sensitivity", "normal"),
    "high": pgettext_lazy("sensitivity", "high"),
    "shadow": _("shadow mode"),
}
POLICY_SOURCES = {"dashboard": _("dashboard"), "file": _("seqpulse.toml"), "admin": _("admin")}

# Links to the profiles of policies (projects/profiles.py).
PROFILES = {"worker": _("Begin with the profile for workers, which have no HTTP")}

# Reasons of missing samples whose job stored no error.
REASONS = {
    **{code: _(text) for code, text in REASON_TEXTS.items()},
    "unauthorized": _("not authorized: the HMAC secret is wrong"),
    "blocked": _("the address may not be called"),
    "blocked_by_ops": _("not asked: the operators of SeqPulse have blocked this endpoint"),
    "failed": _("failed"),
    "expired": _("expired: no poller ran in time"),
}

# Reasons why an analysis cannot be rerun.
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

# What the roles of a team may do.
ROLES: dict[str, Any] = {
    Role.OWNER: _("Everything, also deleting projects and the team, and making owners"),
    Role.ADMIN: _("Projects, environments, policies, keys, members and invitations"),
    Role.MEMBER: _("Sees everything, marks verdicts, replays and reruns analyses"),
    Role.VIEWER: _("Sees everything and changes nothing"),
}

# Lowest confidence (0..1) of each word.
CONFIDENCE = ((0.85, _("high")), (0.6, _("moderate")), (0.0, _("low")))


def verdict_of(deployment: Deployment) -> DeploymentVerdict | None:
    """Return the stored verdict, None if there is none."""
    return getattr(deployment, "verdict", None)


def status_of(deployment: Deployment) -> Status:
    """Return the verdict if there is one, else the state: a deployment without a verdict never reads as ok."""
    verdict = verdict_of(deployment)
    return status_by_name(verdict.verdict) if verdict is not None else state_of(deployment)


def state_of(deployment: Deployment) -> Status:
    """Return the state, whatever the verdict."""
    return STATES.get(deployment.state, UNKNOWN)


def confidence_word(confidence: float) -> Any:
    """Return the word for a confidence 0..1."""
    return next(word for least, word in CONFIDENCE if confidence >= least or least == 0.0)


def on_samples(judged_on: JudgedOn) -> str:
    """Return on how many samples a confidence rests: ", on 5 samples"; "" where that is not known."""
    n = judged_on.post_samples
    return ngettext(", on %(n)d sample", ", on %(n)d samples", n) % {"n": n} if n else ""


def status_by_name(name: str) -> Status:
    """Return the badge of a verdict by its name."""
    return VERDICTS.get(name, UNKNOWN)


def name_of(user: Any) -> str:
    """Return a user's display name, "" for None."""
    return (user.get_full_name() or user.get_username()) if user is not None else ""
