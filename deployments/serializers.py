"""Requests and answers of trigger and finish (docs/protocol.md)."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from deployments.results import known_words, result_of
from outbound.fetcher import EndpointError, parse_endpoint


def checked_endpoint(url: str) -> str:
    """Return the URL if it can be a metrics endpoint. Raises serializers.ValidationError."""
    if url:
        try:
            parse_endpoint(url)
        except EndpointError as error:
            raise serializers.ValidationError(str(error), code=error.code) from None
    return url


class OptionalText(serializers.CharField):
    """A text that may be missing, null or empty; reads as the empty string."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_blank=True, allow_null=True, default="", **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        empty, value = super().validate_empty_values(data)
        return empty, "" if empty and value is None else value


class OptionalTime(serializers.DateTimeField):
    """A time that may be missing, null or empty; reads as None then."""

    # A time far from now comes from a clock that is not set, and the extremes of datetime overflow in other time zones.
    YEARS = (2000, 2100)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, default=None, **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return super().validate_empty_values(None if data == "" else data)

    def to_internal_value(self, value: Any) -> datetime:
        moment: datetime = super().to_internal_value(value)
        first, last = self.YEARS
        if not first <= moment.year <= last:
            raise serializers.ValidationError(f"The year has to lie between {first} and {last}.")
        return moment


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "object", "additionalProperties": True}]})
class PolicyField(serializers.Field[Any, Any, Any, Any]):
    """The content of a seqpulse.toml: its text, or the same as a JSON object."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, (str, dict)):
            raise serializers.ValidationError("This has to be the text of a seqpulse.toml, or the same as an object.")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class TriggerRequest(serializers.Serializer[Any]):
    env = serializers.CharField(max_length=100, help_text="Name of the environment that is deployed to.")
    idempotency_key = OptionalText(max_length=255, help_text="One deployment per key; X-Idempotency-Key wins.")
    branch = OptionalText(max_length=255)
    metrics_endpoint = OptionalText(max_length=2048, help_text="Must be the environment's own, where it has one.")
    commit_sha = OptionalText(max_length=64)
    version = OptionalText(max_length=255)
    author = OptionalText(max_length=255)
    url = OptionalText(max_length=2048, help_text="Link to the CI run (http or https).")
    committed_at = OptionalTime(help_text="When the commit was made, ISO 8601: `git log -1 --format=%cI`.")
    policy = PolicyField(required=False, allow_null=True, default=None, help_text="The text of a seqpulse.toml.")
    force = serializers.BooleanField(
        default=False, help_text="Supersede a deployment of this environment that is still running; it gets no verdict."
    )
    wait_for_pre = serializers.BooleanField(
        default=False, help_text="Answer when the sample from before is in or has failed; 10 s at most."
    )

    def validate_metrics_endpoint(self, value: str) -> str:
        return checked_endpoint(value)

    def validate_url(self, value: str) -> str:
        if value and not value.lower().startswith(("http://", "https://")):
            raise serializers.ValidationError("This has to be a link that starts with http:// or https://.")
        return value


class PreSampleState(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["collected", "failed", "pending"])
    message = serializers.CharField(allow_null=True)


class TriggerResponse(serializers.Serializer[Any]):
    deployment_id = serializers.UUIDField()
    status = serializers.ChoiceField(["created", "existing"])
    message = serializers.CharField(allow_null=True)
    number = serializers.IntegerField()
    pre = PreSampleState(required=False, help_text="With wait_for_pre only.")


class OptionalId(serializers.UUIDField):
    """An id that may be missing, null or empty; reads as None then."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, default=None, **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return super().validate_empty_values(None if data == "" else data)


class FinishRequest(serializers.Serializer[Any]):
    deployment_id = OptionalId(help_text="From the answer of trigger. Without it, env says which one is finished.")
    env = OptionalText(max_length=100, help_text="Name of the environment; alone: its running deployment.")
    idempotency_key = OptionalText(max_length=255, help_text="Of the trigger call to env; X-Idempotency-Key wins.")
    result = serializers.CharField(
        max_length=64,
        help_text="How the pipeline ended, in the words of any CI system and in any case: success, failed, cancelled, "
        "SUCCESS, UNSTABLE, aborted, skipped, …",
    )
    metrics_endpoint = OptionalText(max_length=2048)

    def validate_metrics_endpoint(self, value: str) -> str:
        return checked_endpoint(value)

    def validate_result(self, value: str) -> str:
        result = result_of(value)
        if result is None:
            raise serializers.ValidationError(f'"{value}" is not a result. These are: {known_words()}.')
        return result

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["deployment_id"] is None and not attrs["env"]:
            needed = "Say which deployment is finished: deployment_id, or env with idempotency_key, or env alone."
            keyed = "A key belongs to an environment: name it." if attrs["idempotency_key"] else needed
            raise serializers.ValidationError({"deployment_id": [needed], "env": [keyed]})
        return attrs


class FinishResponse(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["accepted", "ignored", "not_found"])
    message = serializers.CharField()
    deployment_id = serializers.UUIDField(allow_null=True, help_text="null where none was found")
