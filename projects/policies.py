"""A policy as it is stored with an environment, and as the file seqpulse.toml that comes with a trigger call."""

import tomllib
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError

from common.validation import localized
from explain.facts import Fact
from projects.policy import InvalidPolicy, policy_from_dict

ENVIRONMENTS = "environments"
# What a file may have besides a policy.
SOURCES = "sources"
MAX_POLICY_CHARS = 16_000


def validate_policy(policy: Any) -> None:
    """Raise ValidationError, with a sentence per wrong field, where the judges cannot read this policy."""
    try:
        policy_from_dict(policy)
    except InvalidPolicy as error:
        raise ValidationError(wrong_fields(error)) from None


def wrong_fields(invalid: InvalidPolicy) -> list[str]:
    """Return the errors in the active language: one sentence per field, prefixed with its path."""
    return [f"{field}: {localized(fact)}" for field, fact in invalid.errors.items()]


def policy_from_toml(text: str, environment: str) -> dict[str, Any]:
    """Return the policy that a seqpulse.toml gives to an environment: its top level, and over it [environments.NAME].

    Raises InvalidPolicy.
    """
    return for_environment(file_from_toml(text), environment)


def file_from_toml(text: str) -> dict[str, Any]:
    """Return the content of a seqpulse.toml. Raises InvalidPolicy."""
    if len(text) > MAX_POLICY_CHARS:
        raise InvalidPolicy({"policy": Fact("policy.too_long", {"most": MAX_POLICY_CHARS})})
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidPolicy({"policy": Fact("policy.not_toml", {"text": str(error)})}) from None
    except (ValueError, RecursionError):
        raise InvalidPolicy({"policy": Fact("policy.too_large_for_toml")}) from None


def sources_for(data: Mapping[str, Any], environment: str) -> Any:
    """Return the list of sources that a file gives to an environment, None where it names none."""
    return {**data, **_own(data, environment)}.get(SOURCES)


def names_policy(data: Mapping[str, Any], environment: str) -> bool:
    """Return whether a file says anything besides the sources; an empty one says the default."""
    own = _own(data, environment)
    return SOURCES not in {*data, *own} or bool({*data, *own} - {ENVIRONMENTS, SOURCES})


def _own(data: Mapping[str, Any], environment: str) -> Mapping[str, Any]:
    of_all = data.get(ENVIRONMENTS)
    own = of_all.get(environment) if isinstance(of_all, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def for_environment(data: Mapping[str, Any], environment: str) -> dict[str, Any]:
    """Return the policy of one environment out of a policy file's content. Raises InvalidPolicy."""
    own = data.get(ENVIRONMENTS, {})
    if not isinstance(own, Mapping) or not all(isinstance(part, Mapping) for part in own.values()):
        raise InvalidPolicy({ENVIRONMENTS: Fact("policy.environments")})
    policy = {key: value for key, value in data.items() if key not in (ENVIRONMENTS, SOURCES)}
    for key, value in own.get(environment, {}).items():
        if key == SOURCES:
            continue
        both = isinstance(value, Mapping) and isinstance(policy.get(key), Mapping)
        policy[key] = {**policy[key], **value} if both else value
    policy_from_dict(policy)
    return policy
