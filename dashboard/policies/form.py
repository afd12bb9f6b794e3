"""The policy of an environment as a form. Fields are named by their path in the policy, those of `fixed` after it.

Ratios (0..1 in the policy) are percentages here. An empty field means the default, and stays out of the policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.utils import formats
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from analysis.adaptive.policy import MAX_WARMUP, AdaptivePolicy
from analysis.policy import DEFAULT_KIND, LIMITED_METRICS, FixedPolicy, policy_from_dict
from analysis.types import METRICS
from dashboard.charts import UNITS
from dashboard.words import METRICS as METRIC_NAMES
from dashboard.words import POLICY_KINDS, SENSITIVITIES

PER_CENT = "%"
LARGEST = Decimal(1_000_000_000)
LONGEST_INTERVAL_S = 86_400
FIXED = "fixed."
TRAFFIC = "requests_per_sec"
MARKS = ("critical_metrics", "left_out")
_DEFAULTS = {"adaptive": AdaptivePolicy().as_dict(), "fixed": FixedPolicy().as_dict()}


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of the table of metrics: its name and its fields, in the order of the columns."""

    metric: str
    unit: str
    cells: list[Any]


class NumberField(forms.DecimalField):
    """A number with its unit. Percentages are typed as such and kept as ratios, without the dust of floats."""

    def __init__(self, unit: str, *, label: Any, default: Any = None, above_zero: bool = False) -> None:
        self.unit = unit
        most = Decimal(100) if unit == PER_CENT else LARGEST
        # Not a number input: of what it cannot read ("1,5") a browser sends nothing, and that would mean the default.
        widget = forms.TextInput({"inputmode": "decimal", "autocomplete": "off"})
        super().__init__(
            required=False, label=label, min_value=Decimal(0), max_value=most, widget=widget, localize=True
        )
        self.above_zero = above_zero
        if default is not None:
            self.widget.attrs["placeholder"] = self.shown(default)

    def clean(self, value: Any) -> Any:
        number = super().clean(value)
        if number is None:
            return None
        if self.above_zero and number == 0:
            raise forms.ValidationError(_("This has to be greater than 0."))
        kept = number / 100 if self.unit == PER_CENT else number
        return int(kept) if kept == kept.to_integral_value() else float(kept)

    def shown(self, value: Any) -> str:
        """A policy's number as it is typed here."""
        number = Decimal(repr(float(value))) * (100 if self.unit == PER_CENT else 1)
        return formats.number_format(number.normalize(), use_l10n=True)


class PolicyForm(forms.Form):
    """Every field of both kinds; those of the kind that is not chosen are ignored."""

    kind = forms.ChoiceField(label=_("Judge"), choices=list(POLICY_KINDS.items()), widget=forms.RadioSelect)
    sensitivity = forms.ChoiceField(label=_("Sensitivity"), choices=list(SENSITIVITIES.items()), required=False)
    warmup_samples = forms.IntegerField(
        label=_("Warm-up: first samples that are forgiven"),
        required=False,
        min_value=0,
        max_value=MAX_WARMUP,
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off", "placeholder": _("automatic")}),
    )
    shadow = forms.BooleanField(label=_("Shadow mode: record verdicts, never gate a pipeline"), required=False)
    baseline_interval_s = forms.IntegerField(
        label=_("Seconds between two baseline samples"),
        required=False,
        min_value=0,
        max_value=LONGEST_INTERVAL_S,
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off"}),
        show_hidden_initial=True,
    )
    seen = forms.IntegerField(required=False, min_value=0, max_value=2**31, widget=forms.HiddenInput)

    def __init__(
        self,
        stored: Mapping[str, Any],
        data: Any = None,
        *,
        baseline_interval_s: int | None,
        version: int,
        **kwargs: Any,
    ) -> None:
        """stored: a policy that reads; version: the number of the environment's current one, 0 where it has none."""
        super().__init__(data, **kwargs)
        self.policy: dict[str, Any] = {}
        self.fields.update(_fields())
        self.initial = {**_initial(stored, self.fields), "baseline_interval_s": baseline_interval_s, "seen": version}

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        kind = data.get("kind", "")
        for name in [name for name in self.errors if _kind_of(name) not in (kind, None)]:
            del self.errors[name]
        if not kind or self.errors:
            return data
        self.policy = _policy(kind, data)
        if len(self.policy.get("left_out", ())) == len(METRICS):
            self.add_error(f"left_out.{METRICS[0]}", _("This leaves nothing to judge. Keep at least one metric."))
            return data
        try:
            policy_from_dict(self.policy)
        except ValueError as error:
            self._tell(kind, str(error))
        return data

    def tell_changed(self, version: int) -> None:
        """The policy is no longer the one that the page showed, but this version: whoever saves again has seen that."""
        self.data = {**{name: self.data.get(name) for name in self.data}, "seen": str(version)}
        self.add_error(None, _("The policy was changed meanwhile. Look at its versions below, then save again."))

    def lock(self) -> None:
        """For people who may only look."""
        for field in self.fields.values():
            field.disabled = True

    def adaptive_rows(self) -> list[MetricRow]:
        """Per metric: limit, tolerance, whether it may recommend a rollback, whether it is left out."""
        names = ("limits", "tolerances", *MARKS)
        return [MetricRow(metric, UNITS[metric], [self[f"{name}.{metric}"] for name in names]) for metric in METRICS]

    def fixed_rows(self) -> list[MetricRow]:
        """Per metric with a limit: limit, tolerance, whether it may recommend a rollback."""
        return [
            MetricRow(
                metric,
                UNITS[metric],
                [
                    self[f"{FIXED}{metric}.limit"],
                    self[f"{FIXED}{metric}.tolerance"],
                    self[f"{FIXED}critical_metrics.{metric}"],
                ],
            )
            for metric in LIMITED_METRICS
        ]

    def fixed_others(self) -> list[Any]:
        """The numbers of the fixed policy that belong to no limit."""
        names = (*(f"{TRAFFIC}.{name}" for name in _TRAFFIC_FIELDS), f"critical_metrics.{TRAFFIC}", *_FIXED_NUMBERS)
        return [self[f"{FIXED}{name}"] for name in names]

    def _tell(self, kind: str, message: str) -> None:
        """The judge's refusal, at the field that it names."""
        path, _colon, rest = message.partition(":")
        name = f"{FIXED}{path}" if kind == "fixed" else path
        known = name in self.fields
        told = rest.strip() if known else message
        self.add_error(name if known else None, Truncator(told.encode("utf-8", "backslashreplace").decode()).chars(300))


_TRAFFIC_FIELDS: dict[str, tuple[str, Any]] = {
    "drop": (PER_CENT, _("Traffic: a sample so far below the mean before counts as lost")),
    "tolerance": (PER_CENT, _("Traffic: tolerated share of such samples")),
    "min_pre_mean": ("req/s", _("Traffic: not compared below")),
}
_FIXED_NUMBERS: dict[str, Any] = {
    "secured_factor": _("Samples are held against this part of the limit"),
    "min_quality": _("A verdict is conclusive from this data quality on"),
}


def _fields() -> dict[str, forms.Field]:
    """The fields that follow from the metrics."""
    return {**dict(_adaptive_fields()), **{f"{FIXED}{name}": field for name, field in _fixed_fields()}}


def _adaptive_fields() -> Iterator[tuple[str, forms.Field]]:
    tolerances = _DEFAULTS["adaptive"]["tolerances"]
    for metric in METRICS:
        name = METRIC_NAMES[metric]
        least = metric == TRAFFIC
        limit = _("%(metric)s: at least") if least else _("%(metric)s: at most")
        yield f"limits.{metric}", NumberField(UNITS[metric], label=limit % {"metric": name})
        tolerated = _("%(metric)s: tolerated share of samples beyond the limit") % {"metric": name}
        yield f"tolerances.{metric}", NumberField(PER_CENT, label=tolerated, default=tolerances[metric])
        yield f"critical_metrics.{metric}", _critical(name)
        left_out = _("%(metric)s: leave out") % {"metric": name}
        yield f"left_out.{metric}", forms.BooleanField(label=left_out, required=False)


def _fixed_fields() -> Iterator[tuple[str, forms.Field]]:
    defaults = _DEFAULTS["fixed"]
    for metric in LIMITED_METRICS:
        name, known = METRIC_NAMES[metric], defaults[metric]
        limit = _("%(metric)s: limit") % {"metric": name}
        yield f"{metric}.limit", NumberField(UNITS[metric], label=limit, default=known["limit"], above_zero=True)
        tolerated = _("%(metric)s: tolerated share of samples above it") % {"metric": name}
        yield f"{metric}.tolerance", NumberField(PER_CENT, label=tolerated, default=known["tolerance"])
        yield f"critical_metrics.{metric}", _critical(name)
    for part, (unit, label) in _TRAFFIC_FIELDS.items():
        above_zero = part == "drop"
        yield (
            f"{TRAFFIC}.{part}",
            NumberField(unit, label=label, default=defaults[TRAFFIC][part], above_zero=above_zero),
        )
    yield f"critical_metrics.{TRAFFIC}", _critical(METRIC_NAMES[TRAFFIC])
    for part, label in _FIXED_NUMBERS.items():
        above_zero = part == "secured_factor"
        yield part, NumberField(PER_CENT, label=label, default=defaults[part], above_zero=above_zero)


def _critical(metric: Any) -> forms.Field:
    return forms.BooleanField(label=_("%(metric)s: may recommend a rollback") % {"metric": metric}, required=False)


def _kind_of(name: str) -> str | None:
    """The kind of policy that a field belongs to, None for both."""
    if name.startswith(FIXED):
        return "fixed"
    return None if name in ("kind", "baseline_interval_s", "seen") else "adaptive"


def _initial(stored: Mapping[str, Any], fields: Mapping[str, forms.Field]) -> dict[str, Any]:
    """What each field shows: what the policy says itself; of the other kind, its defaults."""
    kind = str(stored.get("kind", DEFAULT_KIND))
    shown: dict[str, Any] = {"kind": kind, "sensitivity": "normal"}
    for place, defaults in _DEFAULTS.items():
        own = stored if place == kind else {}
        start = FIXED if place == "fixed" else ""
        for name in MARKS:
            chosen = own.get(name, defaults.get(name, ()))
            shown.update({f"{start}{name}.{metric}": metric in chosen for metric in METRICS})
        for path, value in _flat(own):
            field = fields.get(f"{start}{path}")
            if field is not None and value is not None:
                shown[f"{start}{path}"] = field.shown(value) if isinstance(field, NumberField) else value
    shown["kind"] = kind
    return shown


def _flat(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{rest}", found) for rest, found in _flat(value))
        else:
            yield key, value


def _policy(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The policy that the cleaned fields describe: its kind, and what differs from the kind's defaults or was typed."""
    start = FIXED if kind == "fixed" else ""
    policy: dict[str, Any] = {"kind": kind}
    marked: dict[str, list[str]] = {name: [] for name in MARKS}
    for name, value in data.items():
        if _kind_of(name) != kind or value is None or value == "":
            continue
        first, _dot, rest = name.removeprefix(start).partition(".")
        if first in marked:
            marked[first] += [rest] if value else []
        elif rest:
            policy.setdefault(first, {})[rest] = value
        elif value != _DEFAULTS[kind].get(first) or type(value) in (int, float):
            policy[first] = value
    for name, metrics in marked.items():
        default = _DEFAULTS[kind].get(name, [])
        chosen = [metric for metric in METRICS if metric in metrics]
        if chosen != [metric for metric in METRICS if metric in default]:
            policy[name] = chosen
    return policy
