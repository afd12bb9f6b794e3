"""Reading an environment's policy, without knowing what the judges understand: analysis tells that at start-up."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError

PolicyReader = Callable[[Mapping[str, Any]], object]
ENVIRONMENTS = "environments"
MAX_POLICY_CHARS = 16_000

_readers: list[PolicyReader] = []


def read_policies_with(reader: PolicyReader) -> None:
    """Announces what reads a policy; it raises ValueError that names the field and the fix."""
    _readers[:] = [reader]


def validate_policy(policy: Any) -> None:
    """Raises ValidationError where this is no policy that the judges understand."""
    for reader in _readers:
        try:
            reader(policy)
        except ValueError as error:
            raise ValidationError(f"policy: {error}") from None


def policy_from_toml(text: str, environment: str) -> dict[str, Any]:
    """The policy that a seqpulse.toml gives to an environment: its top level, and over it [environments.NAME].

    Raises ValidationError.
    """
    if len(text) > MAX_POLICY_CHARS:
        raise ValidationError(f"The policy file is longer than {MAX_POLICY_CHARS} characters.")
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValidationError(f"The policy file is not valid TOML: {error}") from None
    return for_environment(data, environment)


def for_environment(data: Mapping[str, Any], environment: str) -> dict[str, Any]:
    """The policy of one environment out of a policy file's content. Raises ValidationError."""
    own = data.get(ENVIRONMENTS, {})
    if not isinstance(own, Mapping) or not all(isinstance(part, Mapping) for part in own.values()):
        raise ValidationError(f"{ENVIRONMENTS}: has to hold one table per environment, like [environments.prod].")
    policy = {key: value for key, value in data.items() if key != ENVIRONMENTS}
    for key, value in own.get(environment, {}).items():
        both = isinstance(value, Mapping) and isinstance(policy.get(key), Mapping)
        policy[key] = {**policy[key], **value} if both else value
    validate_policy(policy)
    return policy
