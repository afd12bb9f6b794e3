"""A policy as it is stored with an environment, and as the file seqpulse.toml that comes with a trigger call."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import get_language

from common.validation import validation_error
from explain.errors import ExplainedError
from explain.rendering import render
from projects.policy import InvalidPolicy, policy_from_dict

ENVIRONMENTS = "environments"
MAX_POLICY_CHARS = 16_000


def validate_policy(policy: Any) -> None:
    """Raises ValidationError with a sentence per wrong field where the judges cannot read this policy."""
    try:
        policy_from_dict(policy)
    except InvalidPolicy as error:
        raise ValidationError(sentences(error)) from None


def sentences(invalid: InvalidPolicy) -> list[str]:
    """What is wrong, in the active language, one sentence per field with its path in front."""
    code = get_language() or "en"
    return [f"{field}: {render(fact, code)}" for field, fact in invalid.errors.items()]


def policy_from_toml(text: str, environment: str) -> dict[str, Any]:
    """The policy that a seqpulse.toml gives to an environment: its top level, and over it [environments.NAME].

    Raises ValidationError.
    """
    if len(text) > MAX_POLICY_CHARS:
        raise validation_error(ExplainedError("policy.too_long", most=MAX_POLICY_CHARS))
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise validation_error(ExplainedError("policy.not_toml", text=str(error))) from None
    except (ValueError, RecursionError):
        raise validation_error(ExplainedError("policy.too_large_for_toml")) from None
    return for_environment(data, environment)


def for_environment(data: Mapping[str, Any], environment: str) -> dict[str, Any]:
    """The policy of one environment out of a policy file's content. Raises ValidationError."""
    own = data.get(ENVIRONMENTS, {})
    if not isinstance(own, Mapping) or not all(isinstance(part, Mapping) for part in own.values()):
        raise validation_error(ExplainedError("policy.environments", field=ENVIRONMENTS))
    policy = {key: value for key, value in data.items() if key != ENVIRONMENTS}
    for key, value in own.get(environment, {}).items():
        both = isinstance(value, Mapping) and isinstance(policy.get(key), Mapping)
        policy[key] = {**policy[key], **value} if both else value
    validate_policy(policy)
    return policy
