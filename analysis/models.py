"""Verdicts and the hints that explain them. Written once, by the analysis job; revised only by people (rerun.py)."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import User
from analysis.told import Message, by_text
from deployments.models import Deployment


class VerdictName(models.TextChoices):
    OK = "ok", pgettext_lazy("verdict", "Ok")
    WARNING = "warning", pgettext_lazy("verdict", "Warning")
    ROLLBACK_RECOMMENDED = "rollback_recommended", pgettext_lazy("verdict", "Rollback Recommended")


class Severity(models.TextChoices):
    INFO = "info", pgettext_lazy("severity", "Info")
    WARNING = "warning", pgettext_lazy("severity", "Warning")
    CRITICAL = "critical", pgettext_lazy("severity", "Critical")


class DeploymentVerdict(models.Model):
    """What the judge said of a deployment, with everything needed to recompute it.

    failed_metrics: list of {"metric", "value", "limit", "share", "tolerance"}; checks: each one (judge/types.py);
    policy: the policy as it was; quality: {"score", "issues"}; evidence: the window and the misses as they were judged.
    early: issued before the window ended. An early verdict stays on record; final is then what the judge said at the
    end ({"verdict", "confidence", "conclusive", "score", "summary", "checks", "quality", "evidence", "at"}).
    Texts are English; told: their messages (analysis/told.py), of the final verdict as well; None in rows of older
    versions.
    revisions: what earlier analyses said, oldest first, once somebody has let one run again (analysis/rerun.py); None:
    nobody has. created_at: when the verdict was first issued.
    """

    deployment = models.OneToOneField(
        Deployment, on_delete=models.CASCADE, related_name="verdict", verbose_name=_("deployment")
    )
    verdict = models.CharField(_("verdict"), max_length=24, choices=VerdictName)
    confidence = models.FloatField(_("confidence"))
    conclusive = models.BooleanField(_("conclusive"))
    score = models.FloatField(_("score"))
    summary = models.TextField(_("summary"))
    failed_metrics = models.JSONField(_("failed metrics"), default=list)
    checks = models.JSONField(_("checks"), default=list)
    quality = models.JSONField(_("data quality"), default=dict)
    policy = models.JSONField(_("policy"), default=dict)
    evidence = models.JSONField(_("evidence"), default=dict)
    early = models.BooleanField(_("early"), default=False)
    final = models.JSONField(_("final verdict"), null=True, blank=True)
    shadow = models.BooleanField(default=False, help_text="Recorded, but never to gate a pipeline.")
    told = models.JSONField(null=True, blank=True, editable=False)
    revisions = models.JSONField(_("revisions"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("verdict")
        verbose_name_plural = _("verdicts")
        db_table = "deployment_verdicts"
        indexes = [
            # Lists of one verdict, newest first: where it is rare, the deployments need not be read one by one.
            models.Index(fields=["verdict", "deployment"], name="verdicts_by_name"),
            models.Index(fields=["confidence", "deployment"], name="verdicts_by_confidence"),
            models.Index(fields=["deployment"], condition=models.Q(conclusive=False), name="verdicts_not_conclusive"),
            models.Index(fields=["deployment"], condition=models.Q(early=True), name="verdicts_early"),
            # Figures over many verdicts: the rows themselves are wide.
            models.Index(fields=["deployment"], include=["id", "verdict", "created_at"], name="verdicts_in_short"),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} for {self.deployment}"

    @cached_property
    def phrases(self) -> dict[str, Message]:
        """The messages of its texts, by the texts as they are stored."""
        return by_text(self.told)

    @property
    def gate(self) -> str:
        """What a pipeline should do: fail only on a recommended rollback, and never in shadow mode."""
        return "fail" if self.verdict == VerdictName.ROLLBACK_RECOMMENDED and not self.shadow else "pass"


class Feedback(models.Model):
    """What a person says of a verdict: right or wrong. should_have_been: the right verdict, where it was wrong."""

    verdict = models.OneToOneField(
        DeploymentVerdict, on_delete=models.CASCADE, related_name="feedback", verbose_name=_("verdict")
    )
    right = models.BooleanField(_("right"))
    should_have_been = models.CharField(_("should have been"), max_length=24, choices=VerdictName, blank=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    given_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, verbose_name=_("given by"))
    given_at = models.DateTimeField(_("given at"), auto_now=True)

    class Meta:
        verbose_name = pgettext_lazy("on a verdict", "mark")
        verbose_name_plural = pgettext_lazy("on a verdict", "marks")
        db_table = "verdict_feedback"

    def __str__(self) -> str:
        return f"{'right' if self.right else 'wrong'}: {self.verdict}"

    @property
    def label(self) -> str:
        """The verdict that the deployment deserved, "" where the person did not say."""
        return self.verdict.verdict if self.right else self.should_have_been


class HintQuerySet(models.QuerySet["Hint"]):
    def visible_to(self, user: Any) -> HintQuerySet:
        return self.filter(deployment__in=Deployment.objects.visible_to(user))


class Hint(models.Model):
    """One SeqPulse Debug Hint: what probably happened, what it does to users, what to do next.

    details: {"text_key", "numbers", "told"}; told: the messages of its texts, which are English (analysis/told.py).
    """

    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="hints", verbose_name=_("deployment")
    )
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    code = models.CharField(_("code"), max_length=60)
    metric = models.CharField(_("metric"), max_length=30, blank=True)
    severity = models.CharField(_("severity"), max_length=10, choices=Severity)
    confidence = models.FloatField(_("confidence"))
    observed = models.FloatField(_("observed"), null=True, blank=True)
    threshold = models.FloatField(_("limit"), null=True, blank=True)
    title = models.CharField(_("title"), max_length=200)
    cause = models.TextField(_("cause"))
    impact = models.TextField(_("impact"))
    evidence = models.JSONField(_("evidence"), default=list)
    actions = models.JSONField(_("actions"), default=list)
    details = models.JSONField(_("details"), default=dict)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = HintQuerySet.as_manager()

    class Meta:
        verbose_name = _("hint")
        verbose_name_plural = _("hints")
        db_table = "sdh_hints"
        ordering = ["deployment", "position"]
        constraints = [models.UniqueConstraint(fields=["deployment", "position"], name="one_hint_per_position")]
        # Lists across deployments, newest first; counting them by day reads no table.
        indexes = [
            models.Index(fields=["created_at", "id"], include=["deployment", "code", "severity"], name="hints_by_time"),
            models.Index(fields=["code", "created_at", "id"], name="hints_by_code"),
            models.Index(fields=["severity", "created_at", "id"], name="hints_by_severity"),
        ]

    def __str__(self) -> str:
        return f"{self.code} ({self.severity})"

    @cached_property
    def phrases(self) -> dict[str, Message]:
        """The messages of its texts, by the texts as they are stored."""
        return by_text(self.details.get("told") if isinstance(self.details, dict) else None)
