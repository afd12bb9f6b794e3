"""Reading an environment's policy, without knowing what the judges understand: analysis tells that at start-up."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError

PolicyReader = Callable[[Mapping[str, Any]], object]
ENVIRONMENTS = "environments"
MAX_POLICY_CHARS = 16_000
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

_readers: list[PolicyReader] = []


def read_policies_with(reader: PolicyReader) -> None:
    """Announces what reads a policy; it raises ValueError that names the field and the fix."""
    _readers[:] = [reader]


def validate_policy(policy: Any) -> None:
    """Raises ValidationError where this is no policy that the judges understand."""
    for reader in _readers:
        try:
            reader(policy)
        except (ValueError, OverflowError) as error:
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


def policy_to_toml(policy: Mapping[str, Any], environment: str | None = None) -> str:
    """The text of a seqpulse.toml that gives this policy: to every environment, or to the one of that name.

    `policy_from_toml` reads it back. What is None is left out: TOML has no such value, and to a policy both mean the
    default. Raises TypeError for what no policy holds.
    """
    path = [] if environment is None else [ENVIRONMENTS, environment]
    return "\n".join(_table(policy, path)).strip() + "\n"


def toml_value(value: Any) -> str:
    """A policy's value as TOML writes it. Raises TypeError for what no policy holds."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # JSON escapes what TOML wants escaped, except DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    raise TypeError(f"a policy holds no {type(value).__name__}")


def _table(data: Mapping[str, Any], path: list[str]) -> list[str]:
    """The lines of a table: its own values first, then the tables in it."""
    values = {key: value for key, value in data.items() if not isinstance(value, Mapping) and value is not None}
    lines = ["", f"[{'.'.join(_key(part) for part in path)}]"] if path and (values or not data) else []
    lines += [f"{_key(key)} = {toml_value(value)}" for key, value in values.items()]
    for key, value in data.items():
        if isinstance(value, Mapping):
            lines += _table(value, [*path, key])
    return lines


def _key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else toml_value(name)
