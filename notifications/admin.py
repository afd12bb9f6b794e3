"""Events, channels and deliveries in Django admin, read-only and without what is configured for a channel."""

from django.contrib import admin

from common.modeladmin import FirstRelated, MachineMadeAdmin
from events.models import Event
from notifications.models import Channel, Delivery, RollbackAttempt


@admin.register(Event)
class EventAdmin(MachineMadeAdmin):
    list_display = ("id", "occurred_at", "kind", "severity", "team_id", "project_id", "environment_id", "deployment_id")
    list_filter = ("severity",)
    search_fields = ("=kind", "=deployment_id", "=environment_id")
    ordering = ("-id",)


@admin.register(Channel)
class ChannelAdmin(MachineMadeAdmin):
    """The pages of a team make and change channels: they know the fields of each kind."""

    list_display = ("name", "team", "project", "kind", "least_severity", "digest", "disabled_at")
    list_filter = ("kind", ("team", FirstRelated))
    list_select_related = ("team", "project")
    search_fields = ("name", "team__name", "project__name", "=uuid")
    exclude = ("config",)
    readonly_fields = ("uuid", "disabled_at", "disabled_why", "created_by", "created_at")
    ordering = ("-id",)


@admin.register(Delivery)
class DeliveryAdmin(MachineMadeAdmin):
    list_display = ("id", "channel", "event", "state", "attempts", "due_at", "attempted_at", "answer_status")
    list_filter = ("state", ("channel", FirstRelated))
    list_select_related = ("channel", "event")
    search_fields = ("channel__name", "=channel__uuid", "=event__kind")
    ordering = ("-id",)


@admin.register(RollbackAttempt)
class RollbackAttemptAdmin(MachineMadeAdmin):
    """Rollbacks that were asked for, approved, sent."""

    list_display = ("deployment", "state", "who", "via", "sending_at", "answer_status", "result")
    list_filter = ("state", "result")
    list_select_related = ("deployment__project",)
    search_fields = ("deployment__uuid", "deployment__project__name", "who")
    ordering = ("-id",)
