"""The outbox: what happened, written in the transaction in which it happened."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from events.kinds import KINDS, Kind, Severity

USUAL = Kind("")


class Event(models.Model):
    """One thing that happened. Ids, not foreign keys: it outlives what it is about, and any app may emit it.

    parameters: a fact's, as JSON: codes, numbers and names; never a secret. key: of events that must be emitted once;
    a second one with the key is not written. fanned_out_at: since when its deliveries exist; NULL: not yet.
    """

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(_("kind"), max_length=40)
    severity = models.CharField(_("severity"), max_length=10, choices=[(one, one) for one in Severity])
    team_id = models.BigIntegerField()
    project_id = models.BigIntegerField(null=True)
    environment_id = models.BigIntegerField(null=True)
    deployment_id = models.BigIntegerField(null=True)
    parameters = models.JSONField(_("parameters"), default=dict)
    key = models.CharField(max_length=100, null=True)
    occurred_at = models.DateTimeField(_("occurred at"), db_default=Now())
    fanned_out_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        db_table = "events"
        constraints = [models.UniqueConstraint(fields=["key"], name="one_event_per_key")]
        indexes = [
            models.Index(fields=["id"], condition=models.Q(fanned_out_at__isnull=True), name="events_to_fan_out"),
            models.Index(fields=["team_id", "-id"], name="events_of_team"),
            models.Index(
                fields=["deployment_id"], condition=models.Q(deployment_id__isnull=False), name="events_of_deployment"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    @property
    def useful_for_s(self) -> float:
        """Seconds after which its pending deliveries expire."""
        # A kind of a later version is unknown after a downgrade.
        return KINDS.get(self.kind, USUAL).useful_for.total_seconds()


class Incident(models.Model):
    """An open incident, from its first sign until it is resolved: then its row is deleted.

    key: its subject, such as "endpoint 17"; signs: how often it was seen; severity: of its event, "" while it has
    none. parameters: of that event, as far as the event of its end needs them.
    """

    key = models.CharField(max_length=100, unique=True)
    signs = models.PositiveIntegerField(default=1)
    severity = models.CharField(max_length=10, default="")
    parameters = models.JSONField(default=dict)
    opened_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "incidents"

    def __str__(self) -> str:
        return self.key
