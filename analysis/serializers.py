"""Deployments, verdicts and hints in the API."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from rest_framework import serializers

from analysis.models import Acknowledgement, DeploymentVerdict, Hint, What
from analysis.recorded import read_health, without_facts
from deployments.models import Deployment
from deployments.serializers import OptionalText


class RowSerializer(serializers.ModelSerializer[Any]):
    """Shows rows of `values("id", *columns())` as they are. For lists: objects and fields took most of their time."""

    @classmethod
    @cache
    def sources(cls) -> dict[str, str]:
        """Return the column of each field."""
        given = {name: field.source or "*" for name, field in cls().fields.items()}
        return {name: name if source == "*" else source.replace(".", "__") for name, source in given.items()}

    @classmethod
    def columns(cls) -> list[str]:
        return list(cls.sources().values())

    def to_representation(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row[column] for name, column in self.sources().items()}


class DeploymentSerializer(RowSerializer):
    """A deployment. verdict is null until it exists."""

    deployment_id = serializers.UUIDField(source="uuid")
    environment = serializers.CharField(source="environment.name")
    settle_seconds = serializers.IntegerField(source="settle_s")
    superseded_by = serializers.UUIDField(source="superseded_by.uuid", default=None, allow_null=True)
    verdict = serializers.CharField(source="verdict.verdict", default=None, allow_null=True, read_only=True)
    confidence = serializers.FloatField(source="verdict.confidence", default=None, allow_null=True, read_only=True)
    conclusive = serializers.BooleanField(source="verdict.conclusive", default=None, allow_null=True, read_only=True)
    early = serializers.BooleanField(source="verdict.early", default=None, allow_null=True, read_only=True)
    healthy = serializers.CharField(source="verdict.healthy", default=None, allow_null=True, read_only=True)

    class Meta:
        model = Deployment
        fields = [
            "deployment_id",
            "number",
            "environment",
            "idempotency_key",
            "branch",
            "kind",
            "commit_sha",
            "commit_message",
            "committed_at",
            "version",
            "author",
            "url",
            "state",
            "superseded_by",
            "pipeline_result",
            "started_at",
            "finished_at",
            "duration_ms",
            "settle_seconds",
            "verdict",
            "confidence",
            "conclusive",
            "early",
            "healthy",
        ]

    # In place of `healthy` (DeploymentVerdict.healthy), which is no column.
    FINAL_HEALTH, HEALTH = "verdict__final__health", "verdict__health"

    @classmethod
    def columns(cls) -> list[str]:
        return [*(name for name in super().columns() if name != "verdict__healthy"), cls.FINAL_HEALTH, cls.HEALTH]

    def to_representation(self, row: Mapping[str, Any]) -> dict[str, Any]:
        health = read_health(row[self.FINAL_HEALTH] or row[self.HEALTH])
        healthy = None if row["verdict__verdict"] is None else health.healthy
        return super().to_representation({**row, "verdict__healthy": healthy})


class NamedRequest(serializers.Serializer[Any]):
    """A call by somebody."""

    who = OptionalText(max_length=150, help_text="A name; without one that of the key.")


class AcknowledgementRequest(NamedRequest):
    """An acknowledgement of a deployment."""

    what = serializers.ChoiceField(
        choices=What.choices,
        help_text="`ignored` needs a reason.",
        error_messages={"invalid_choice": f"This has to be one of {', '.join(What.values)}."},
    )
    reason = OptionalText(max_length=500)


class AcknowledgementSerializer(serializers.ModelSerializer[Acknowledgement]):
    class Meta:
        model = Acknowledgement
        fields = ["id", "what", "reason", "who", "via", "at"]


class HintSerializer(serializers.ModelSerializer[Hint]):
    metric = serializers.SerializerMethodField()

    class Meta:
        model = Hint
        fields = [
            "code",
            "metric",
            "severity",
            "confidence",
            "observed",
            "threshold",
            "title",
            "cause",
            "impact",
            "evidence",
            "actions",
            "created_at",
        ]

    def get_metric(self, hint: Hint) -> str | None:
        return hint.metric or None


class ProjectHintSerializer(RowSerializer, HintSerializer):
    """A hint in the list of all of a project's hints."""

    deployment_id = serializers.UUIDField(source="deployment.uuid")

    class Meta(HintSerializer.Meta):
        fields = ["deployment_id", *HintSerializer.Meta.fields]

    def to_representation(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().to_representation(row), "metric": row["metric"] or None}


class VerdictSerializer(serializers.ModelSerializer[DeploymentVerdict]):
    gate = serializers.CharField(help_text="pass or fail: what a pipeline should do; always pass in shadow mode")

    class Meta:
        model = DeploymentVerdict
        fields = [
            "verdict",
            "gate",
            "early",
            "shadow",
            "confidence",
            "conclusive",
            "score",
            "summary",
            "failed_metrics",
            "checks",
            "quality",
            "health",
            "basis",
            "policy",
            "evidence",
            "final",
            "created_at",
        ]

    def to_representation(self, verdict: DeploymentVerdict) -> dict[str, Any]:
        shown: dict[str, Any] = without_facts(super().to_representation(verdict))
        return shown


class SampleCount(serializers.Serializer[Any]):
    collected = serializers.IntegerField()
    expected = serializers.IntegerField()


MESSAGE = "that the deployment is an earlier attempt's, where a later one brought its idempotency key"


class DeploymentWithSamples(DeploymentSerializer):
    """A deployment with the numbers of its POST samples. verdict is null until it exists."""

    samples = SampleCount()

    class Meta(DeploymentSerializer.Meta):
        fields = [*DeploymentSerializer.Meta.fields, "samples"]


class Level(serializers.Serializer[Any]):
    before = serializers.FloatField()
    after = serializers.FloatField()


class PendingVerdict(serializers.Serializer[Any]):
    deployment_id = serializers.UUIDField()
    state = serializers.CharField()
    samples = SampleCount()
    message = serializers.CharField(allow_null=True, help_text=MESSAGE)
    gate = serializers.CharField(help_text="pending")
    verdict = serializers.CharField(allow_null=True, help_text="null until the verdict stands")
    verdict_due_at = serializers.DateTimeField(
        allow_null=True, required=False, help_text="202 only: when the last sample is due; null before finish"
    )
    levels = serializers.DictField(
        child=Level(), required=False, help_text="202 only: means by metric, of the metrics that have samples by now"
    )


class MissingDeployment(PendingVerdict):
    """The answer of an environment's gate without a verdict: there may be no deployment yet."""

    deployment_id = serializers.UUIDField(allow_null=True)
    state = serializers.CharField(allow_null=True)


class NoVerdict(PendingVerdict):
    """The answer of the gate where there will be no verdict: an error, and the fields of the others."""

    error = serializers.DictField()
    detail = serializers.CharField()


class StandingVerdict(VerdictSerializer):
    """The answer of the gate with a verdict."""

    deployment_id = serializers.UUIDField()
    state = serializers.CharField()
    samples = SampleCount()
    message = serializers.CharField(allow_null=True, help_text=MESSAGE)
    hints = HintSerializer(many=True)

    class Meta(VerdictSerializer.Meta):
        fields = ["deployment_id", "state", "samples", "message", *VerdictSerializer.Meta.fields, "hints"]
