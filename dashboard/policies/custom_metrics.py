"""The custom metrics of a policy as text: TOML, as in a seqpulse.toml."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from django import forms
from django.utils.translation import gettext_lazy as _

from common.validation import localized
from explain.facts import Fact
from projects.policies import MAX_POLICY_CHARS

KEY = "custom_metrics"
LEAST_ROWS, MOST_ROWS = 4, 24


class CustomMetricsField(forms.CharField):
    """A list of tables [[custom_metrics]], cleaned to a list of JSON values."""

    def __init__(self) -> None:
        super().__init__(
            label=_("Custom metrics"),
            required=False,
            max_length=MAX_POLICY_CHARS,
            widget=forms.Textarea({"rows": LEAST_ROWS, "spellcheck": "false", "class": "code"}),
        )

    def clean(self, value: Any) -> list[Any]:
        text = super().clean(value)
        try:
            found = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise forms.ValidationError(localized(Fact("policy.not_toml", {"text": str(error)}))) from None
        except (ValueError, RecursionError):
            raise forms.ValidationError(localized(Fact("policy.too_large_for_toml"))) from None
        unknown = [key for key in found if key != KEY]
        if unknown:
            fact = Fact("policy.unknown_field", {"known": KEY})
            raise forms.ValidationError(f"{unknown[0][:100]}: {localized(fact)}")
        metrics = found.get(KEY, [])
        if not isinstance(metrics, list):
            raise forms.ValidationError(localized(Fact("policy.list")))
        return metrics


def written(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Return custom metrics as entered in the form."""
    return "\n".join(map(_table, metrics))


def rows_for(metrics: Sequence[Any]) -> int:
    """Return how many lines of text are shown at once."""
    return min(max(10 * len(metrics), LEAST_ROWS), MOST_ROWS)


def _table(metric: Mapping[str, Any]) -> str:
    given = {key: value for key, value in metric.items() if value is not None}
    lines = [f"{key} = {_value(value)}" for key, value in given.items()]
    return "\n".join([f"[[{KEY}]]", *lines, ""])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(inner)}' for key, inner in value.items() if inner is not None)} }}"
    return str(tomlkit.item(value).as_string())
