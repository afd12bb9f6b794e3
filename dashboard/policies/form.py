"""Forms of an environment's policy, and of periods that feed no baseline.

Fields of a policy are named by their path in it, those of `fixed` with its prefix. Ratios (0..1 in the policy) are
percentages here. An empty field means the default, and is not stored.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

from django import forms
from django.utils import formats, timezone
from django.utils.translation import gettext_lazy as _

from analysis.charts import UNITS
from common.moments import MomentField
from common.validation import localized
from dashboard.labels import METRICS as METRIC_NAMES
from dashboard.labels import POLICY_KINDS, SENSITIVITIES
from dashboard.policies.custom_metrics import KEY as CUSTOM_METRICS
from dashboard.policies.custom_metrics import CustomMetricsField, rows_for, written
from dashboard.templatetags.seqpulse import zone
from projects.policy import (
    DEFAULT_KIND,
    KINDS,
    LIMITED_METRICS,
    MAX_WARMUP,
    METRICS,
    InvalidPolicy,
    policy_from_dict,
)

PER_CENT, MARK = "%", "mark"
LARGEST = Decimal(1_000_000_000)
LONGEST_INTERVAL_S = 86_400
FIXED = "fixed."
TRAFFIC = "requests_per_sec"
MARKS = ("critical_metrics", "left_out")
AT_LEAST = _("%(metric)s: at least")
Columns = Mapping[str, tuple[str | None, Any]]
# Fields of a metric: unit (None: that of the metric, MARK: a check box) and label.
ADAPTIVE_COLUMNS: Columns = {
    "limits.{}": (None, _("%(metric)s: at most")),
    "tolerances.{}": (PER_CENT, _("%(metric)s: tolerated share of samples beyond the limit")),
    "critical_metrics.{}": (MARK, _("%(metric)s: may recommend a rollback")),
    "left_out.{}": (MARK, _("%(metric)s: leave out")),
}
FIXED_COLUMNS: Columns = {
    "fixed.{}.limit": (None, _("%(metric)s: limit")),
    "fixed.{}.tolerance": (PER_CENT, _("%(metric)s: tolerated share of samples above it")),
    "fixed.critical_metrics.{}": (MARK, _("%(metric)s: may recommend a rollback")),
}
# Fields of traffic, and of no metric.
FIXED_OTHERS: Columns = {
    "fixed.requests_per_sec.drop": (PER_CENT, _("Traffic: a sample so far below the mean before counts as lost")),
    "fixed.requests_per_sec.tolerance": (PER_CENT, _("Traffic: tolerated share of such samples")),
    "fixed.requests_per_sec.min_pre_mean": (None, _("Traffic: not compared below")),
    "fixed.critical_metrics.requests_per_sec": (MARK, _("%(metric)s: may recommend a rollback")),
    "fixed.secured_factor": (PER_CENT, _("Samples are held against this part of the limit")),
    "fixed.min_quality": (PER_CENT, _("A verdict is conclusive from this data quality on")),
}
_DEFAULTS = {kind: model().as_dict() for kind, model in KINDS.items()}


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A row of the table of metrics: name, and fields in the order of the columns."""

    metric: str
    unit: str
    cells: list[Any]


class NumberField(forms.DecimalField):
    """A number with its unit. Percentages are entered as such and stored as ratios, without rounding errors."""

    def __init__(self, unit: str, *, label: Any, default: Any) -> None:
        self.unit = unit
        most = Decimal(100) if unit == PER_CENT else LARGEST
        # Not a number input: for invalid text ("1,5") a browser sends nothing, which would mean the default.
        widget = forms.TextInput({"inputmode": "decimal", "autocomplete": "off"})
        super().__init__(
            required=False, label=label, min_value=Decimal(0), max_value=most, widget=widget, localize=True
        )
        if default is not None:
            self.widget.attrs["placeholder"] = self.shown(default)

    def clean(self, value: Any) -> Any:
        number = super().clean(value)
        if number is None:
            return None
        kept = number / 100 if self.unit == PER_CENT else number
        return int(kept) if kept == kept.to_integral_value() else float(kept)

    def shown(self, value: Any) -> str:
        """Return a policy's number as entered in the form."""
        number = Decimal(repr(float(value))) * (100 if self.unit == PER_CENT else 1)
        return formats.number_format(number.normalize(), use_l10n=True)


class PolicyForm(forms.Form):
    """Fields of both kinds; those of the unselected kind are ignored."""

    kind = forms.ChoiceField(label=_("Judge"), choices=list(POLICY_KINDS.items()), widget=forms.RadioSelect)
    sensitivity = forms.ChoiceField(label=_("Sensitivity"), choices=list(SENSITIVITIES.items()), required=False)
    warmup_samples = forms.IntegerField(
        label=_("Warm-up: first samples that are forgiven"),
        required=False,
        min_value=0,
        max_value=MAX_WARMUP,
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off", "placeholder": _("automatic")}),
    )
    custom_metrics = CustomMetricsField()
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
        self, stored: Mapping[str, Any], data: Any = None, *, baseline_interval_s: int | None, version: int
    ) -> None:
        """Create the form. stored: a readable policy; version: number of the current one, 0 if there is none."""
        super().__init__(data)
        self.policy: dict[str, Any] = {}
        self.fields.update(_fields())
        self.fields[CUSTOM_METRICS].widget.attrs["rows"] = rows_for(stored.get(CUSTOM_METRICS, ()))
        self.initial = {**_initial(stored, self.fields), "baseline_interval_s": baseline_interval_s, "seen": version}

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        kind = data.get("kind", "")
        for name in [name for name in self.errors if _place(name)[0] not in (kind, "")]:
            del self.errors[name]
        if not kind:
            return data
        policy = _policy(kind, data)
        if data.get(CUSTOM_METRICS):
            policy[CUSTOM_METRICS] = data[CUSTOM_METRICS]
        try:
            policy_from_dict(policy)
        except InvalidPolicy as invalid:
            for path, fact in invalid.errors.items():
                inside = path.startswith(f"{CUSTOM_METRICS}.")
                self.add_error(self._field_at(kind, path), f"{path}: {localized(fact)}" if inside else localized(fact))
        self.policy = {} if self.errors else policy
        return data

    def mark_changed(self, version: int) -> None:
        """Refuse to save over a version that the page did not show; saving once more replaces this version."""
        self.data = {**{name: self.data.get(name) for name in self.data}, "seen": str(version)}
        self.add_error(None, _("The policy was changed meanwhile. Look at its versions below, then save again."))

    def lock(self) -> None:
        """Disable all fields, for users who may not change them."""
        for field in self.fields.values():
            field.disabled = True

    def adaptive_rows(self) -> list[MetricRow]:
        """Return rows per metric: limit, tolerance, critical, left out."""
        return self._rows(METRICS, ADAPTIVE_COLUMNS)

    def fixed_rows(self) -> list[MetricRow]:
        """Return rows per metric with a limit: limit, tolerance, critical."""
        return self._rows(LIMITED_METRICS, FIXED_COLUMNS)

    def fixed_others(self) -> list[Any]:
        """Return fields of the fixed policy without a limit, those of traffic first."""
        return [self[name] for name in FIXED_OTHERS]

    def _rows(self, metrics: Iterable[str], columns: Iterable[str]) -> list[MetricRow]:
        return [MetricRow(metric, UNITS[metric], [self[name.format(metric)] for name in columns]) for metric in metrics]

    def _field_at(self, kind: str, path: str) -> str | None:
        """Return the field of a path in the policy (the first one, if the path is a list of metrics), else None."""
        if path.startswith(CUSTOM_METRICS):
            return CUSTOM_METRICS
        name = f"{FIXED}{path}" if kind == "fixed" else path
        return next((field for field in self.fields if field == name or field.startswith(f"{name}.")), None)


def _fields() -> Iterator[tuple[str, forms.Field]]:
    """Yield the fields of every metric. Traffic comes first, as in METRICS: marks are listed in this order."""
    tables = ((ADAPTIVE_COLUMNS, METRICS), (FIXED_OTHERS, (TRAFFIC,)), (FIXED_COLUMNS, LIMITED_METRICS))
    for columns, metrics in tables:
        for metric, (column, (unit, template)) in product(metrics, columns.items()):
            name = column.format(metric)
            label = (AT_LEAST if name == f"limits.{TRAFFIC}" else template) % {"metric": METRIC_NAMES[metric]}
            if unit == MARK:
                yield name, forms.BooleanField(label=label, required=False)
            else:
                kind, *place = _place(name)
                yield name, NumberField(unit or UNITS[metric], label=label, default=_value(_DEFAULTS[kind], *place))


def _place(name: str) -> tuple[str, str, str]:
    """Return the kind of policy of a field ("" for both), and its path: a key, and the key inside."""
    section, _dot, key = name.removeprefix(FIXED).partition(".")
    if name in ("kind", "baseline_interval_s", "seen", CUSTOM_METRICS):
        return "", section, key
    return "fixed" if name.startswith(FIXED) else "adaptive", section, key


def _value(policy: Mapping[str, Any], section: str, key: str) -> Any:
    return policy.get(section, {}).get(key) if key else policy.get(section)


def _initial(stored: Mapping[str, Any], fields: Mapping[str, forms.Field]) -> dict[str, Any]:
    """Return the initial values: of the policy, and the defaults of the other kind."""
    shown: dict[str, Any] = {"kind": stored.get("kind", DEFAULT_KIND), "sensitivity": "normal"}
    if CUSTOM_METRICS in stored:
        shown[CUSTOM_METRICS] = written(stored[CUSTOM_METRICS])
    for name, field in fields.items():
        kind, section, key = _place(name)
        own = stored if kind == shown["kind"] else {}
        if section in MARKS:
            shown[name] = key in own.get(section, _DEFAULTS[kind][section])
        elif (value := _value(own, section, key)) is not None:
            shown[name] = field.shown(value) if isinstance(field, NumberField) else value
    return shown


def _policy(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the policy of the cleaned fields: its kind, and values that differ from the defaults or were entered."""
    default = _DEFAULTS[kind]
    policy: dict[str, Any] = {"kind": kind}
    marked: dict[str, list[str]] = {}
    for name, value in data.items():
        of, section, key = _place(name)
        if of != kind or value in (None, ""):
            continue
        if section in MARKS:
            marked.setdefault(section, []).extend([key] if value else [])
        elif key:
            policy.setdefault(section, {})[key] = value
        elif value != default[section] or type(value) in (int, float):
            policy[section] = value
    return policy | {name: metrics for name, metrics in marked.items() if metrics != default[name]}


# More distant or longer periods are typing errors, or would leave the environment without a baseline.
FARTHEST = timedelta(days=366)
LONGEST_WINDOW = timedelta(days=31)


def validate_near(moment: datetime) -> None:
    """Raise ValidationError for a time more than a year away."""
    if abs(moment - timezone.now()) > FARTHEST:
        raise forms.ValidationError(_("This lies more than a year away."))


def moment_field(label: Any) -> MomentField:
    widget = forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    return MomentField(label=label, widget=widget, validators=[validate_near])


class ExcludedWindowForm(forms.Form):
    """A period excluded from the baseline: an incident, a load test."""

    starts_at = moment_field(_("From"))
    ends_at = moment_field(_("To"))
    reason = forms.CharField(label=_("Reason"), required=False, max_length=200)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, prefix="window")
        for field, label in (("starts_at", _("From (%(zone)s)")), ("ends_at", _("To (%(zone)s)"))):
            self.fields[field].label = label % {"zone": zone()}

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        starts_at, ends_at = data.get("starts_at"), data.get("ends_at")
        if starts_at and ends_at and ends_at <= starts_at:
            self.add_error("ends_at", _("The window has to end after it starts."))
        elif starts_at and ends_at and ends_at - starts_at > LONGEST_WINDOW:
            self.add_error("ends_at", _("A window is at most %(n)d days long.") % {"n": LONGEST_WINDOW.days})
        return data
