"""Verdicts and their hints. Written once by the analysis job; revised only by users (rerun.py)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import User
from analysis.recorded import Recorded, Revision, read_health, read_hint, read_hint_title, read_recorded, read_revisions
from analysis.texts.hints import HintFacts
from deployments.models import Deployment
from explain.facts import Fact
from projects.models import Environment

# Columns of a verdict that hold its result.
STORED = (
    *("verdict", "confidence", "conclusive", "score", "summary", "fact", "checks", "quality", "health", "basis"),
    *("policy", "evidence"),
)


class VerdictName(models.TextChoices):
    OK = "ok", pgettext_lazy("verdict", "Ok")
    WARNING = "warning", pgettext_lazy("verdict", "Warning")
    ROLLBACK_RECOMMENDED = "rollback_recommended", pgettext_lazy("verdict", "Rollback Recommended")


class Severity(models.TextChoices):
    INFO = "info", pgettext_lazy("severity", "Info")
    WARNING = "warning", pgettext_lazy("severity", "Warning")
    CRITICAL = "critical", pgettext_lazy("severity", "Critical")


class DeploymentVerdict(models.Model):
    """The verdict on a deployment, with everything needed to recompute it.

    JSON columns are written and read by analysis/recorded.py; use `judged`, `judged_at_end`, `standing` and `replaced`.
    health: {"healthy": yes | no | unknown, "reasons"}, of the service at the end of the window; basis: what the verdict
    rests on ({"requests", "requests_before", "pre_age_s", "exercised", "doubts"}), see analysis/judge/types.py.
    failed_metrics: list of {"metric", "value", "limit", "share", "tolerance"}; policy: the policy as it was; evidence:
    the window and the misses as they were judged; fact: of the summary. early: issued before the window ended. An early
    verdict stays on record; final is then the verdict at the end ({"verdict", "confidence", "conclusive", "score",
    "summary", "fact", "checks", "quality", "health", "basis", "evidence", "at"}). revisions: the verdicts that reruns
    of the analysis replaced, oldest first (analysis/rerun.py). created_at: when the verdict was first issued.
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
    health = models.JSONField(_("health"), default=dict, db_default={})
    basis = models.JSONField(_("basis"), default=dict, db_default={})
    policy = models.JSONField(_("policy"), default=dict)
    evidence = models.JSONField(_("evidence"), default=dict)
    early = models.BooleanField(_("early"), default=False)
    final = models.JSONField(_("final verdict"), null=True, blank=True)
    shadow = models.BooleanField(default=False, help_text="Recorded, but never to gate a pipeline.")
    fact = models.JSONField(null=True, blank=True, editable=False)
    revisions = models.JSONField(_("revisions"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("verdict")
        verbose_name_plural = _("verdicts")
        db_table = "deployment_verdicts"
        indexes = [
            # Lists of one verdict, newest first, also if it is rare.
            models.Index(fields=["verdict", "deployment"], name="verdicts_by_name"),
            models.Index(fields=["confidence", "deployment"], name="verdicts_by_confidence"),
            models.Index(fields=["deployment"], condition=models.Q(conclusive=False), name="verdicts_not_conclusive"),
            models.Index(fields=["deployment"], condition=models.Q(early=True), name="verdicts_early"),
            # Index-only scans over many verdicts: the rows are wide.
            models.Index(fields=["deployment"], include=["id", "verdict", "created_at"], name="verdicts_in_short"),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} for {self.deployment}"

    @cached_property
    def judged(self) -> Recorded:
        """Return the verdict of the row; for an early verdict, the early one."""
        stored = {name: getattr(self, name) for name in STORED}
        return read_recorded({**stored, "at": self.created_at.isoformat()}, early=self.early)

    @cached_property
    def judged_at_end(self) -> Recorded | None:
        """Return the final verdict of an early one; None if there is none (yet)."""
        return read_recorded({"policy": self.policy, **self.final}) if self.final else None

    @property
    def standing(self) -> Recorded:
        """Return the final verdict if there is one, else the verdict."""
        return self.judged_at_end or self.judged

    @property
    def healthy(self) -> str:
        """Return whether the service was healthy when last judged: yes, no or unknown."""
        return read_health((self.final or {}).get("health") or self.health).healthy

    @cached_property
    def replaced(self) -> list[Revision]:
        """Return the verdicts replaced by reruns, oldest first."""
        return read_revisions(self.revisions)

    @property
    def gate(self) -> str:
        """Return what a pipeline should do: fail only on a recommended rollback, and never in shadow mode."""
        return "fail" if self.verdict == VerdictName.ROLLBACK_RECOMMENDED and not self.shadow else "pass"


class Step(models.Model):
    """A step of a stepwise rollout: so many per cent of the traffic go to the new version (analysis/steps.py).

    number: 1, 2, … in the order of the calls; samples, interval_s: of its window, which begins at starts_at. verdict:
    "" until it is judged; outcome: the verdict as JSON with policy and evidence (analysis/recorded.py).
    """

    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="steps", db_index=False, verbose_name=_("deployment")
    )
    number = models.PositiveSmallIntegerField(_("number"))
    percent = models.PositiveSmallIntegerField(_("per cent"))
    samples = models.PositiveSmallIntegerField(_("samples of the window"))
    interval_s = models.FloatField(_("interval (s)"))
    starts_at = models.DateTimeField(_("starts at"))
    verdict = models.CharField(_("verdict"), max_length=24, choices=VerdictName, blank=True, default="")
    confidence = models.FloatField(_("confidence"), null=True, blank=True)
    conclusive = models.BooleanField(_("conclusive"), null=True, blank=True)
    shadow = models.BooleanField(default=False, help_text="Recorded, but never to gate a pipeline.")
    outcome = models.JSONField(null=True, blank=True, editable=False)
    judged_at = models.DateTimeField(_("judged at"), null=True, blank=True)

    class Meta:
        verbose_name = pgettext_lazy("of a rollout", "step")
        verbose_name_plural = pgettext_lazy("of a rollout", "steps")
        db_table = "deployment_steps"
        constraints = [
            models.UniqueConstraint(fields=["deployment", "percent"], name="one_step_per_percent"),
        ]

    def __str__(self) -> str:
        return f"{self.percent} % of {self.deployment}"

    @property
    def ends_at(self) -> datetime:
        """When its last sample is due."""
        return self.starts_at + timedelta(seconds=self.samples * self.interval_s)

    @cached_property
    def judged(self) -> Recorded | None:
        """Return its verdict; None while there is none."""
        return read_recorded(self.outcome) if self.outcome else None

    @property
    def next(self) -> str:
        """Return what the rollout should do: roll back only on a recommendation, and never in shadow mode."""
        if not self.verdict:
            return "wait"
        return "rollback" if self.verdict == VerdictName.ROLLBACK_RECOMMENDED and not self.shadow else "continue"


class Feedback(models.Model):
    """Mark of a verdict: right or wrong. should_have_been: the right verdict of a wrong one."""

    verdict = models.OneToOneField(
        DeploymentVerdict, on_delete=models.CASCADE, related_name="feedback", verbose_name=_("verdict")
    )
    right = models.BooleanField(_("right"))
    should_have_been = models.CharField(_("should have been"), max_length=24, choices=VerdictName, blank=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    given_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, verbose_name=_("given by"))
    given_at = models.DateTimeField(_("given at"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = pgettext_lazy("on a verdict", "mark")
        verbose_name_plural = pgettext_lazy("on a verdict", "marks")
        db_table = "verdict_feedback"

    def __str__(self) -> str:
        return f"{'right' if self.right else 'wrong'}: {self.verdict}"

    @property
    def label(self) -> str:
        """Return the deserved verdict, "" if not named."""
        return self.verdict.verdict if self.right else self.should_have_been


class What(models.TextChoices):
    """What people say about a deployment."""

    ON_IT = "on_it", pgettext_lazy("acknowledgement", "I’m on it")
    ROLLED_BACK = "rolled_back", pgettext_lazy("acknowledgement", "Rolled back")
    IGNORED = "ignored", pgettext_lazy("acknowledgement", "Ignored")


class Via(models.TextChoices):
    """Where they say it."""

    PAGE = "page", pgettext_lazy("acknowledgement", "Page")
    API = "api", pgettext_lazy("acknowledgement", "API")
    CHAT = "chat", pgettext_lazy("acknowledgement", "Chat")


class Acknowledgement(models.Model):
    """An acknowledgement of a deployment (analysis/acknowledging.py). Rows are added, never changed.

    who: their name as of then, of an account, an API key or in a chat. environment: the deployment's.
    """

    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="acknowledgements", verbose_name=_("deployment")
    )
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="+", db_index=False)
    what = models.CharField(_("what"), max_length=12, choices=What)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    who = models.CharField(_("who"), max_length=150)
    via = models.CharField(_("by way of"), max_length=8, choices=Via)
    by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("account")
    )
    at = models.DateTimeField(_("at"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("acknowledgement")
        verbose_name_plural = _("acknowledgements")
        db_table = "acknowledgements"
        indexes = [
            # When an environment was restored (delivery figures).
            models.Index(fields=["environment", "at"], condition=models.Q(what="rolled_back"), name="rolled_back_at"),
        ]

    def __str__(self) -> str:
        return f"{self.who}: {self.what}"


class HintQuerySet(models.QuerySet["Hint"]):
    def visible_to(self, user: Any) -> HintQuerySet:
        return self.filter(deployment__in=Deployment.objects.visible_to(user))


class Hint(models.Model):
    """One SeqPulse Debug Hint: what probably happened, what it does to users, what to do next.

    Texts are English. details: {"text_key", "numbers", "params", "evidence", "roll_back"}, from which `facts` is read.
    """

    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="hints", verbose_name=_("deployment")
    )
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    code = models.CharField(_("code"), max_length=60)
    metric = models.CharField(_("metric"), max_length=63, blank=True)
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
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    objects = HintQuerySet.as_manager()

    class Meta:
        verbose_name = _("hint")
        verbose_name_plural = _("hints")
        db_table = "sdh_hints"
        ordering = ["deployment", "position"]
        constraints = [models.UniqueConstraint(fields=["deployment", "position"], name="one_hint_per_position")]
        # Lists of all deployments, newest first; counting by day uses an index-only scan.
        indexes = [
            models.Index(fields=["created_at", "id"], include=["deployment", "code", "severity"], name="hints_by_time"),
            models.Index(fields=["code", "created_at", "id"], name="hints_by_code"),
            models.Index(fields=["severity", "created_at", "id"], name="hints_by_severity"),
        ]

    def __str__(self) -> str:
        return f"{self.code} ({self.severity})"

    @cached_property
    def facts(self) -> HintFacts:
        """Return the facts of the hint, to be rendered in any language."""
        return read_hint(self)

    @property
    def title_fact(self) -> Fact:
        """Return the fact of its title, from the columns that lists load."""
        return read_hint_title(self)


class EnvironmentStanding(models.Model):
    """An environment's latest deployment with a verdict, so that the state of thousands is read at once.

    Kept by triggers on verdicts and hints (migration 0005) for all writers: in the same transaction, computed anew.
    Without foreign keys: a row goes with the environment's last verdict. unhealthy: as `DeploymentVerdict.healthy` is
    no; critical_hints: how many that deployment has.
    """

    environment_id = models.BigIntegerField(primary_key=True)
    deployment_id = models.BigIntegerField()
    verdict = models.CharField(max_length=24)
    unhealthy = models.BooleanField()
    critical_hints = models.IntegerField()

    class Meta:
        db_table = "environment_standings"

    def __str__(self) -> str:
        return f"environment {self.environment_id}: {self.verdict}"


class PastDeployment(models.Model):
    """A deployment of the time before, judged on what the environment's sources know of it (analysis/backfill.py).

    It is none of the project's deployments: nothing counts it, nothing is compared with it, and nobody is told.
    name: of its tag, or the title of its commit; takes_s: from deployed_at until the new version served; outcome: the
    verdict as JSON with policy and evidence, hints: their columns (analysis/recorded.py); samples: what it was judged
    on; problem: why it was not judged.
    """

    environment = models.ForeignKey(
        Environment,
        on_delete=models.CASCADE,
        related_name="past_deployments",
        db_index=False,
        verbose_name=_("environment"),
    )
    name = models.CharField(_("name"), max_length=255)
    commit_sha = models.CharField(_("commit"), max_length=64, blank=True)
    deployed_at = models.DateTimeField(_("deployed at"))
    takes_s = models.PositiveIntegerField(_("takes (s)"), default=0)
    window_samples = models.PositiveSmallIntegerField(_("samples of the window"), default=0)
    interval_s = models.FloatField(_("interval (s)"), default=60.0)
    settle_s = models.PositiveSmallIntegerField(_("settling time (s)"), default=0)
    verdict = models.CharField(_("verdict"), max_length=24, choices=VerdictName, blank=True, default="")
    confidence = models.FloatField(_("confidence"), null=True, blank=True)
    conclusive = models.BooleanField(_("conclusive"), null=True, blank=True)
    outcome = models.JSONField(null=True, blank=True, editable=False)
    hints = models.JSONField(default=list, editable=False)
    samples = models.JSONField(default=list, editable=False)
    problem = models.JSONField(null=True, blank=True, editable=False)
    asked_at = models.DateTimeField(db_default=Now(), editable=False, help_text="When it was last asked to be judged.")
    judged_at = models.DateTimeField(_("judged at"), null=True, blank=True)

    class Meta:
        verbose_name = _("past deployment")
        verbose_name_plural = _("past deployments")
        db_table = "past_deployments"
        constraints = [
            models.UniqueConstraint(fields=["environment", "deployed_at", "name"], name="one_past_deployment"),
        ]
        indexes = [
            models.Index(
                fields=["environment"],
                condition=models.Q(judged_at__isnull=True, problem__isnull=True),
                name="past_deployments_waiting",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def started_at(self) -> datetime:
        return self.deployed_at

    @property
    def finished_at(self) -> datetime:
        """When the new version served: measuring starts then."""
        return self.deployed_at + timedelta(seconds=self.takes_s)

    @property
    def window_starts_at(self) -> datetime:
        return self.finished_at + timedelta(seconds=self.settle_s)

    @property
    def ends_at(self) -> datetime:
        """When the last sample was due."""
        return self.finished_at + timedelta(seconds=self.settle_s + self.window_samples * self.interval_s)

    @cached_property
    def judged(self) -> Recorded | None:
        """Return its verdict; None while there is none, also where it is not judged again yet."""
        return read_recorded(self.outcome) if self.outcome and self.judged_at else None
