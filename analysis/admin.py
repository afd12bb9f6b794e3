"""Verdicts, hints and marks in Django admin, read-only."""

from django.contrib import admin

from analysis.models import Acknowledgement, DeploymentVerdict, Feedback, Hint
from common.modeladmin import MachineMadeAdmin
from deployments.admin import OfDeploymentAdmin


@admin.register(DeploymentVerdict)
class DeploymentVerdictAdmin(OfDeploymentAdmin):
    list_display = ("verdict", "of_deployment", "confidence", "conclusive", "early", "shadow", "score", "created_at")
    list_filter = ("verdict", "conclusive", "early", "shadow")
    list_select_related = ("deployment__project",)
    search_fields = ("deployment__uuid", "deployment__project__name", "summary")
    ordering = ("-id",)


@admin.register(Hint)
class HintAdmin(OfDeploymentAdmin):
    list_display = ("code", "of_deployment", "severity", "metric", "title", "confidence", "created_at")
    list_filter = ("severity", "code")
    list_select_related = ("deployment__project",)
    search_fields = ("deployment__uuid", "deployment__project__name", "title")
    ordering = ("-id",)


@admin.register(Feedback)
class FeedbackAdmin(MachineMadeAdmin):
    """Marks of verdicts; they are changed on the pages of deployments."""

    list_display = ("verdict", "right", "should_have_been", "reason", "given_by", "given_at")
    list_filter = ("right", "should_have_been")
    list_select_related = ("verdict__deployment__project", "given_by")
    search_fields = ("verdict__deployment__uuid", "verdict__deployment__project__name", "reason")
    ordering = ("-id",)


@admin.register(Acknowledgement)
class AcknowledgementAdmin(MachineMadeAdmin):
    """What people said about deployments; it is said on their pages, by the API and in chats."""

    list_display = ("deployment", "what", "who", "via", "reason", "at")
    list_filter = ("what", "via")
    list_select_related = ("deployment__project",)
    search_fields = ("deployment__uuid", "deployment__project__name", "who", "reason")
    ordering = ("-id",)
