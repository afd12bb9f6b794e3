"""Channels, by which events reach people and systems, and the deliveries of events by them."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import Team, User, validate_time_zone
from deployments.models import Deployment
from events.kinds import SEVERITIES, Severity
from events.models import Event
from projects.models import Environment, Project
from security.encryption import EncryptedTextField

SEVERITY_CHOICES = [
    (Severity.INFO, pgettext_lazy("severity", "Everything")),
    (Severity.WARNING, pgettext_lazy("severity", "Warnings and worse")),
    (Severity.CRITICAL, pgettext_lazy("severity", "Critical only")),
]


class Digest(models.TextChoices):
    NONE = "", pgettext_lazy("digest", "Each at once")
    HOURLY = "hourly", pgettext_lazy("digest", "Once an hour")
    DAILY = "daily", pgettext_lazy("digest", "Once a day")


class ChannelQuerySet(models.QuerySet["Channel"]):
    def visible_to(self, user: Any) -> ChannelQuerySet:
        return self.filter(team__in=Team.objects.visible_to(user))

    def active(self) -> ChannelQuerySet:
        return self.filter(disabled_at__isnull=True)


class Channel(models.Model):
    """A destination of notifications, and its rules.

    kind: one of notifications/channels/. config: JSON with what that kind needs (addresses, tokens), encrypted as a
    whole, because most addresses are secrets. project: None: all of the team's. events: kinds, environments:
    ids; empty: all. quiet_from, quiet_until: what happens between them (in time_zone) waits, unless it is critical.
    cooldown_s: so long after a message about an environment, further ones of the same kind wait and go together.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="channels", verbose_name=_("team"))
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="channels", null=True, blank=True, verbose_name=_("project")
    )
    kind = models.CharField(_("kind"), max_length=20)
    name = models.CharField(_("name"), max_length=100)
    config = EncryptedTextField(default="", editable=False)
    language = models.CharField(_("language"), max_length=10, choices=settings.LANGUAGES, default="en")
    events = models.JSONField(_("events"), default=list, blank=True)
    environments = models.JSONField(_("environments"), default=list, blank=True)
    least_severity = models.CharField(
        _("smallest severity"), max_length=10, choices=SEVERITY_CHOICES, default=Severity.WARNING
    )
    quiet_from = models.TimeField(_("quiet from"), null=True, blank=True)
    quiet_until = models.TimeField(_("quiet until"), null=True, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC", validators=[validate_time_zone])
    digest = models.CharField(_("digest"), max_length=10, choices=Digest, blank=True, default=Digest.NONE)
    cooldown_s = models.PositiveIntegerField(_("cooldown (s)"), default=600)
    weekly = models.BooleanField(_("weekly report"), default=True, db_default=True)
    disabled_at = models.DateTimeField(_("disabled at"), null=True, blank=True, editable=False)
    disabled_why = models.JSONField(_("why it is disabled"), null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    objects = ChannelQuerySet.as_manager()

    class Meta:
        verbose_name = _("channel")
        verbose_name_plural = _("channels")
        db_table = "notification_channels"

    def __str__(self) -> str:
        return self.name

    def wants(self, event: Event, *, follows: bool = False) -> bool:
        """Return whether the rules let this event through; when it is sent, they say elsewhere (rules.py).

        follows: this channel got an alert about the same: then the event goes to it whatever its severity.
        """
        return (
            event.team_id == self.team_id
            and self.project_id in (None, event.project_id)
            and event.environment_id in (None, *chosen(self.environments, event.environment_id))
            and self.wants_kind(event.kind, follows=follows)
            and (follows or gravity(event.severity) >= gravity(self.least_severity))
        )

    def wants_kind(self, kind: str, *, follows: bool) -> bool:
        """Return whether the kind is chosen. Revised verdicts go with verdicts, and to all who got what is revised."""
        if kind == "verdict_revised":
            return follows or "verdict_issued" in chosen(self.events, "verdict_issued")
        return kind in chosen(self.events, kind)


def chosen(rule: Any, usual: Any) -> list[Any]:
    """Return what a rule lets through; `usual` where it is empty, or no list: one odd row must not stop all others."""
    return rule if isinstance(rule, list) and rule else [usual]


def gravity(severity: str) -> int:
    """Return the place of a severity; that of one which this version does not know is the highest."""
    return SEVERITIES.index(Severity(severity)) if severity in SEVERITIES else len(SEVERITIES)


class DeliveryState(models.TextChoices):
    PENDING = "pending", pgettext_lazy("delivery", "Waiting")
    SENT = "sent", pgettext_lazy("delivery", "Sent")
    FAILED = "failed", pgettext_lazy("delivery", "Failed")
    EXPIRED = "expired", pgettext_lazy("delivery", "Too late")
    SKIPPED = "skipped", pgettext_lazy("delivery", "Not sent")


class Delivery(models.Model):
    """One event by one channel: at most one row, so that it is delivered once, however often it is retried.

    due_at: when it is next tried. answer_status, answer: what the receiver answered last (HTTP status, the first
    characters). error: why the last attempt failed, as a fact. reference: what the receiver calls the message (a Slack
    timestamp), for threads; of a reply in Slack the thread, a space, and the reply. sent_with: the delivery in whose
    message this one went, for digests.
    """

    id = models.BigAutoField(primary_key=True)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    state = models.CharField(
        _("state"), max_length=10, choices=DeliveryState, default=DeliveryState.PENDING, db_default="pending"
    )
    due_at = models.DateTimeField(_("due at"))
    expires_at = models.DateTimeField(_("of use until"))
    attempts = models.PositiveIntegerField(_("attempts"), default=0, db_default=0)
    attempted_at = models.DateTimeField(_("last attempt"), null=True)
    answer_status = models.PositiveIntegerField(_("answer"), null=True)
    answer = models.CharField(max_length=500, default="", db_default="")
    error = models.JSONField(null=True)
    reference = models.CharField(max_length=255, default="", db_default="")
    sent_with = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        db_table = "notification_deliveries"
        constraints = [models.UniqueConstraint(fields=["event", "channel"], name="one_delivery_per_channel")]
        indexes = [
            models.Index(fields=["channel", "-id"], name="deliveries_of_channel"),
            models.Index(fields=["channel", "due_at"], name="deliveries_by_time"),
            models.Index(
                fields=["sent_with"], condition=models.Q(sent_with__isnull=False), name="deliveries_sent_together"
            ),
            models.Index(fields=["due_at"], condition=models.Q(state="pending"), name="deliveries_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.event} by {self.channel}"


class MailRecipient(models.Model):
    """What the owner of an address said about mails of a team. digest: keyed, of the address (recipients.py)."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+", verbose_name=_("team"))
    digest = models.CharField(max_length=64)
    asked_at = models.DateTimeField(_("asked at"), null=True)
    confirmed_at = models.DateTimeField(_("confirmed at"), null=True)
    stopped_at = models.DateTimeField(_("stopped at"), null=True)

    class Meta:
        verbose_name = _("mail recipient")
        verbose_name_plural = _("mail recipients")
        db_table = "mail_recipients"
        constraints = [models.UniqueConstraint(fields=["team", "digest"], name="one_mail_recipient")]

    def __str__(self) -> str:
        return f"{self.digest[:8]} of {self.team_id}"


class AttemptState(models.TextChoices):
    ASKED = "asked", pgettext_lazy("rollback attempt", "Waits for approval")
    APPROVED = "approved", pgettext_lazy("rollback attempt", "Approved")
    SENDING = "sending", pgettext_lazy("rollback attempt", "Being sent")
    SENT = "sent", pgettext_lazy("rollback attempt", "Sent")
    FAILED = "failed", pgettext_lazy("rollback attempt", "Failed")
    UNKNOWN = "unknown", pgettext_lazy("rollback attempt", "Unknown")
    WITHDRAWN = "withdrawn", pgettext_lazy("rollback attempt", "Not sent")


class Result(models.TextChoices):
    WORKED = "worked", pgettext_lazy("rollback", "Worked")
    NOT_OK = "not_ok", pgettext_lazy("rollback", "Not ok")
    MISSING = "missing", pgettext_lazy("rollback", "Not seen")


class RollbackAttempt(models.Model):
    """The one attempt to have a deployment rolled back (notifications/rollbacks/).

    It is `sending` before the request is sent, and no attempt leaves that state but to its end: so that there is at
    most one request. who, via: who approved it and where; "" and "automatic": nobody. last_good: what is returned to.
    answer_status, answer: of the receiver; error: why it failed, as a fact. rollback: the deployment by which it was
    rolled back; result: what became of that.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    deployment = models.OneToOneField(
        Deployment, on_delete=models.CASCADE, related_name="rollback_attempt", verbose_name=_("deployment")
    )
    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="+", verbose_name=_("environment")
    )
    state = models.CharField(_("state"), max_length=10, choices=AttemptState)
    who = models.CharField(_("approved by"), max_length=150, blank=True)
    via = models.CharField(_("by way of"), max_length=10, blank=True)
    by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("account")
    )
    last_good = models.ForeignKey(
        Deployment,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("last good"),
    )
    made_at = models.DateTimeField(_("made at"), db_default=Now())
    approved_at = models.DateTimeField(_("approved at"), null=True)
    sending_at = models.DateTimeField(_("sent at"), null=True)
    ended_at = models.DateTimeField(_("ended at"), null=True)
    answer_status = models.PositiveIntegerField(_("answer"), null=True)
    answer = models.CharField(max_length=500, default="")
    error = models.JSONField(null=True)
    rollback = models.ForeignKey(
        Deployment,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        verbose_name=_("rollback"),
    )
    result = models.CharField(_("result"), max_length=10, choices=Result, blank=True)

    class Meta:
        verbose_name = _("rollback attempt")
        verbose_name_plural = _("rollback attempts")
        db_table = "rollback_attempts"
        indexes = [
            models.Index(
                fields=["environment"],
                condition=models.Q(state__in=["approved", "sending", "sent", "unknown"], result=""),
                name="rollback_attempts_open",
            ),
            models.Index(fields=["last_good"], condition=models.Q(last_good__isnull=False), name="rollbacks_to"),
            models.Index(fields=["rollback"], condition=models.Q(rollback__isnull=False), name="rollbacks_by"),
        ]

    def __str__(self) -> str:
        return f"{self.deployment}: {self.state}"
