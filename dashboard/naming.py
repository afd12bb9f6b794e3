"""What Django admin calls our rows and their columns.

Set when Django starts, not in the models: what people call a column is no change of the schema, and each name would
take a migration.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

APPS: dict[str, Any] = {
    "accounts": _("Accounts"),
    "analysis": _("Analysis"),
    "deployments": _("Deployments"),
    "metrics": _("Metrics"),
    "projects": _("Projects"),
    "scheduler": _("Scheduler"),
}
MODELS: dict[str, tuple[Any, Any]] = {
    "accounts.Invitation": (_("invitation"), _("invitations")),
    "accounts.Membership": (_("membership"), _("memberships")),
    "accounts.Team": (_("team"), _("teams")),
    "analysis.DeploymentVerdict": (_("verdict"), _("verdicts")),
    "analysis.Feedback": (pgettext_lazy("on a verdict", "mark"), pgettext_lazy("on a verdict", "marks")),
    "analysis.Hint": (_("hint"), _("hints")),
    "deployments.Deployment": (_("deployment"), _("deployments")),
    "metrics.MetricSample": (_("sample"), _("samples")),
    "projects.ApiKey": (_("API key"), _("API keys")),
    "projects.Environment": (_("environment"), _("environments")),
    "projects.ExcludedWindow": (_("excluded window"), _("excluded windows")),
    "projects.PolicyVersion": (_("policy version"), _("policy versions")),
    "projects.Project": (_("project"), _("projects")),
    "scheduler.Poller": (_("poller"), _("pollers")),
    "scheduler.ScheduledJob": (_("job"), _("jobs")),
}
# A column of this name is called the same in whichever table.
COLUMNS: dict[str, Any] = {
    "actions": _("actions"),
    "adopt_endpoints": _("adopt endpoints"),
    "archived_at": _("archived at"),
    "author": _("author"),
    "baseline_interval_s": _("seconds between baseline samples"),
    "branch": _("branch"),
    "cause": _("cause"),
    "checks": _("checks"),
    "code": _("code"),
    "collected_at": _("collected at"),
    "commit_sha": _("commit"),
    "committed_at": _("committed at"),
    "conclusive": _("conclusive"),
    "confidence": _("confidence"),
    "cpu_usage": pgettext_lazy("column", "CPU usage"),
    "created_at": _("created at"),
    "created_by": _("created by"),
    "custom_metrics": _("custom metrics"),
    "deployment": _("deployment"),
    "details": _("details"),
    "duration_ms": _("duration (ms)"),
    "early": _("early"),
    "endpoint_blocked_at": _("endpoint blocked at"),
    "endpoint_blocked_reason": _("reason for the block"),
    "ends_at": _("ends at"),
    "environment": _("environment"),
    "error_code": _("error code"),
    "error_rate": pgettext_lazy("column", "error rate"),
    "evidence": _("evidence"),
    "expires_at": _("expires at"),
    "failed_metrics": _("failed metrics"),
    "fair_key": _("fairness key"),
    "final": _("final verdict"),
    "finished_at": _("finished at"),
    "given_at": _("given at"),
    "given_by": _("given by"),
    "group": pgettext_lazy("of a sample", "group"),
    "heartbeat_at": _("last heartbeat"),
    "history": _("history"),
    "host": _("host"),
    "idempotency_key": _("idempotency key"),
    "impact": _("impact"),
    "instances": _("instances"),
    "interval_s": _("interval (s)"),
    "invited_by": _("invited by"),
    "job_metadata": _("job data"),
    "job_type": _("kind"),
    "labels": _("labels"),
    "last_error": _("last error"),
    "last_number": _("last number"),
    "last_used_at": _("last used at"),
    "latency_p95": pgettext_lazy("column", "p95 latency"),
    "locked_by": _("held by"),
    "locked_until": _("held until"),
    "members": _("members"),
    "memory_usage": pgettext_lazy("column", "memory usage"),
    "metric": _("metric"),
    "metrics_endpoint": _("metrics endpoint"),
    "name": _("name"),
    "number": _("number"),
    "observed": _("observed"),
    "phase": _("phase"),
    "pid": _("process"),
    "pipeline_result": _("pipeline result"),
    "plan": _("plan"),
    "policy": _("policy"),
    "policy_version": _("policy version"),
    "position": _("position"),
    "prefix": _("prefix"),
    "project": _("project"),
    "quality": _("data quality"),
    "reason": _("reason"),
    "requests_per_sec": pgettext_lazy("column", "traffic"),
    "retention_days": _("retention (days)"),
    "retry_count": _("retries"),
    "revisions": _("revisions"),
    "revoked_at": _("revoked at"),
    "right": _("right"),
    "role": _("role"),
    "scheduled_at": _("due at"),
    "score": _("score"),
    "sequence_index": _("place in the window"),
    "severity": _("severity"),
    "should_have_been": _("should have been"),
    "source": _("source"),
    "started_at": _("started at"),
    "starts_at": _("starts at"),
    "state": _("state"),
    "status": _("status"),
    "summary": _("summary"),
    "superseded_by": _("superseded by"),
    "team": _("team"),
    "threshold": _("limit"),
    "title": _("title"),
    "url": _("URL"),
    "user": _("user"),
    "uuid": _("UUID"),
    "verdict": _("verdict"),
    "version": _("version"),
    "window_minutes": _("window (min)"),
    "window_samples": _("samples of the window"),
}


def name_rows_and_columns() -> None:
    """Gives every app, model and column of ours its name."""
    for label, name in APPS.items():
        apps.get_app_config(label).verbose_name = name
    for path, (one, several) in MODELS.items():
        model = apps.get_model(path)
        model._meta.verbose_name, model._meta.verbose_name_plural = one, several
        for field in model._meta.fields:
            if field.name in COLUMNS:
                field.verbose_name = COLUMNS[field.name]
