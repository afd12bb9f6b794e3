"""Requests and answers of trigger and finish (docs/protocol.md)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from deployments import shown
from deployments.control import FIELDS, Control, InvalidControl
from deployments.models import Kind
from deployments.results import known_words, result_of
from outbound.fetcher import EndpointError, parse_endpoint
from projects.models import MAX_SETTLE_S

# Whether a call made what it names, or an earlier one did.
CREATION = ("created", "existing")

# Characters of a wrong value that its refusal repeats.
MOST_SHOWN = 64


def checked_endpoint(url: str) -> str:
    """Return the URL if it can be a metrics endpoint. Raises serializers.ValidationError."""
    if url:
        try:
            parse_endpoint(url)
        except EndpointError as error:
            raise serializers.ValidationError(str(error), code=error.code) from None
    return url


def is_blank(data: Any) -> bool:
    """Return whether a field says nothing: null, or no more than spaces."""
    return data is None or (isinstance(data, str) and not data.strip())


class OptionalText(serializers.CharField):
    """A text that may be missing, null or empty; reads as the empty string."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_blank=True, allow_null=True, default="", **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        empty, value = super().validate_empty_values(data)
        return empty, "" if empty and value is None else value


class Optional(serializers.Field[Any, Any, Any, Any]):
    """A field that may be missing, null or empty."""

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return super().validate_empty_values(serializers.empty if is_blank(data) else data)


@extend_schema_field({"type": "string", "nullable": True})
class ShownField(Optional):
    """A field that is only shown to people. Reads as `Shown`, whatever is sent."""

    def __init__(self, read: shown.Reader, *, empty: Any = "", **kwargs: Any) -> None:
        super().__init__(required=False, default=partial(shown.Shown, empty), **kwargs)
        self.read = read

    def to_internal_value(self, data: Any) -> shown.Shown:
        return self.read(str(self.field_name), data)


class KindField(Optional, serializers.ChoiceField):
    """What kind of deployment it is, in any case; reads as "" where the call does not say."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=Kind.choices, required=False, allow_null=True, default="", **kwargs)

    def to_internal_value(self, data: Any) -> str:
        known = str(data).strip().lower()
        if known not in Kind.values:
            raise serializers.ValidationError(f"This has to be one of {', '.join(Kind.values)}.")
        return known


class SettleField(Optional, serializers.IntegerField):
    """Seconds between finish and the window."""

    def __init__(self, **kwargs: Any) -> None:
        wrong = f"This has to be a whole number of seconds from 0 to {MAX_SETTLE_S}."
        super().__init__(
            required=False,
            allow_null=True,
            default=None,
            min_value=0,
            max_value=MAX_SETTLE_S,
            error_messages=dict.fromkeys(("invalid", "min_value", "max_value", "max_string_length"), wrong),
            **kwargs,
        )


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string"},
            {"type": "object", "properties": {name: {"type": "string"} for name in FIELDS}},
        ],
        "nullable": True,
    }
)
class ControlField(Optional):
    """Where the control group is measured; reads as Control, None where the call names none."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, default=None, **kwargs)

    def to_internal_value(self, data: Any) -> Control | None:
        try:
            return Control.parse(data)
        except InvalidControl as error:
            raise serializers.ValidationError(f"{error.field}: {error}" if error.field else str(error)) from None


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
    branch = ShownField(shown.text(255))
    metrics_endpoint = OptionalText(max_length=2048, help_text="Must be the environment's own, where it has one.")
    commit_sha = ShownField(
        shown.text(64), help_text="With a new key, another commit than that of the running deployment supersedes it."
    )
    commit_message = ShownField(shown.text(2000), help_text="Pages show its first line.")
    version = ShownField(shown.text(255))
    author = ShownField(shown.text(255))
    url = ShownField(shown.link(2048), help_text="Link to the CI run (http or https).")
    committed_at = ShownField(
        shown.moment, empty=None, help_text="When the commit was made, ISO 8601: `git log -1 --format=%cI`."
    )
    kind = KindField(help_text="rollback: it restores an earlier version; verification: nothing changes.")
    settle_seconds = SettleField(
        help_text="Seconds between finish and the window, 0 to 3600; missing: the environment's setting."
    )
    control = ControlField(
        help_text="The old version that runs beside the new one: the URL of its endpoint, or label matchers of its "
        "series (a text with :// is a URL); or an object with endpoint, selector and treatment."
    )
    policy = PolicyField(required=False, allow_null=True, default=None, help_text="The text of a seqpulse.toml.")
    force = serializers.BooleanField(
        default=False, help_text="Supersede a deployment of this environment that is still running; it gets no verdict."
    )
    reason = ShownField(shown.text(500), help_text="Of force. With it, a deployment begins in spite of a freeze.")
    wait_for_pre = serializers.BooleanField(
        default=False, help_text="Answer when the sample from before is in or has failed; 10 s at most."
    )

    def validate_metrics_endpoint(self, value: str) -> str:
        return checked_endpoint(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        found = gathered(attrs)
        del found["facts"]["reason"]
        return found


def gathered(attrs: dict[str, Any]) -> dict[str, Any]:
    """Gather what is only shown under `facts`, by column, and what was changed about it under `notes`."""
    read = {name: value for name, value in attrs.items() if isinstance(value, shown.Shown)}
    facts = {name: one.value for name, one in read.items()}
    return {**attrs, "facts": facts, "notes": [one.note for one in read.values() if one.note is not None]}


class VerificationRequest(serializers.Serializer[Any]):
    env = serializers.CharField(max_length=100, help_text="Name of the environment that is verified.")
    idempotency_key = OptionalText(max_length=255, help_text="One verification per key; X-Idempotency-Key wins.")
    reason = ShownField(
        shown.text(500),
        help_text="What is verified, such as “flag new-checkout on”: the title on pages and in messages.",
    )
    commit_sha = ShownField(shown.text(64), help_text="What runs there now, if known.")
    version = ShownField(shown.text(255))
    author = ShownField(shown.text(255))
    url = ShownField(shown.link(2048), help_text="Link to what it is about (http or https).")
    settle_seconds = SettleField(help_text="Seconds until the window begins, 0 to 3600; missing: the environment's.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        found = gathered(attrs)
        found["facts"]["commit_message"] = found["facts"].pop("reason")
        return found


class PreSampleState(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["collected", "failed", "pending"])
    message = serializers.CharField(allow_null=True)


class TriggerResponse(serializers.Serializer[Any]):
    deployment_id = serializers.UUIDField()
    status = serializers.ChoiceField(CREATION)
    message = serializers.CharField(allow_null=True)
    number = serializers.IntegerField()
    pre = PreSampleState(required=False, help_text="With wait_for_pre only.")


class OptionalId(serializers.UUIDField):
    """An id that may be missing, null or empty; reads as None then."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, default=None, **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return super().validate_empty_values(
            None if is_blank(data) else data.strip() if isinstance(data, str) else data
        )


@extend_schema_field({"type": "string"})
class ResultField(serializers.Field[Any, Any, Any, Any]):
    """How the pipeline ended, in the words of any CI system. Anything else is refused with the list of them."""

    def __init__(self, **kwargs: Any) -> None:
        missing = f"Say how the pipeline ended: {known_words()}."
        super().__init__(error_messages=dict.fromkeys(("required", "null"), missing), **kwargs)

    def to_internal_value(self, data: Any) -> str:
        result = result_of(data) if isinstance(data, str) else None
        if result is None:
            given = f'"{data[:MOST_SHOWN]}"' if isinstance(data, str) else "This"
            raise serializers.ValidationError(f"{given} is not a result. These are: {known_words()}.")
        return result


class FinishRequest(serializers.Serializer[Any]):
    deployment_id = OptionalId(help_text="From the answer of trigger. Without it, env says which one is finished.")
    env = OptionalText(max_length=100, help_text="Name of the environment; alone: its running deployment.")
    idempotency_key = OptionalText(max_length=255, help_text="Of the trigger call to env; X-Idempotency-Key wins.")
    result = ResultField(
        help_text="How the pipeline ended, in the words of any CI system and in any case: success, failed, cancelled, "
        "SUCCESS, UNSTABLE, aborted, skipped, …",
    )
    metrics_endpoint = OptionalText(max_length=2048)
    green = OptionalText(
        max_length=2048,
        help_text="Blue/green: the endpoint of the new version, where this deployment is measured instead of its "
        "environment's own. Asked unsigned unless a person configured its origin.",
    )

    def validate_metrics_endpoint(self, value: str) -> str:
        return checked_endpoint(value)

    def validate_green(self, value: str) -> str:
        return checked_endpoint(value)

    def to_internal_value(self, data: Any) -> Any:
        """Leave out what names a deployment besides its id, which decides: it may be anything."""
        if isinstance(data, Mapping) and not is_blank(data.get("deployment_id")):
            data = {name: value for name, value in data.items() if name not in ("env", "idempotency_key")}
        return super().to_internal_value(data)

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
