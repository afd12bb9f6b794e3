"""The form of a source, made from the configuration of its kind."""

import json
import tomllib
from collections.abc import Mapping
from typing import Any

import tomlkit
from django import forms
from django.utils.translation import gettext as _

from common.validation import localized
from dashboard.sources import words
from explain.facts import Fact
from metrics.configuring import secret_fields
from metrics.sources.base import InvalidConfig, SourceKind
from projects.policies import MAX_POLICY_CHARS

HEADERS, FURTHER = "headers", "further"
# Of a checkbox that removes a stored secret.
REMOVE = "remove_"
# Texts of several lines.
LONG = {"ca_pem"}


class SourceForm(forms.Form):
    """One field per single value; all others are one text in TOML.

    shown: the stored configuration without its secrets; stored: the paths of these.
    """

    def __init__(
        self, kind: SourceKind[Any], data: Any = None, *, shown: Mapping[str, Any] | None = None, stored: Any = ()
    ) -> None:
        super().__init__(data)
        self.kind, self.shown = kind, dict(shown or {})
        self.stored = {path.partition(".")[0]: path for path in stored}
        self.schema = kind.config.model_json_schema()["properties"]
        self.secret = secret_fields(kind)
        if not kind.measures:
            self.schema = {name: value for name, value in self.schema.items() if name != "timeout_s"}  # it asks nothing
        self.single = [name for name in self.schema if name == HEADERS or self.type_of(name)]
        fields: dict[str, Any] = self.fields
        for name in sorted(self.single, key=self.place_of):
            fields[name] = self.field_for(name)
            if name in self.stored and name in self.secret:
                named = ", ".join(path.partition(".")[2] for path in stored if path.startswith(f"{name}.")) or _("one")
                label = _("Remove what is stored: %(names)s") % {"names": named}
                fields[REMOVE + name] = forms.BooleanField(label=label, required=False)
        if len(self.single) < len(self.schema):
            fields[FURTHER] = self.further()

    def place_of(self, name: str) -> int:
        order = [*words.LABELS]
        return order.index(name) if name in order else len(order)

    def type_of(self, name: str) -> str:
        """Return the JSON type of a single value, "" for what has parts."""
        schema = self.schema[name]
        several = [
            one.get("type") for one in (schema, *schema.get("anyOf", ())) if one.get("type") not in (None, "null")
        ]
        single = len(several) == 1 and several[0] in ("string", "number", "integer", "boolean")
        return several[0] if single else ""

    def field_for(self, name: str) -> forms.Field:
        label, help_text = words.LABELS.get(name, name), words.HELP.get(name, "")
        if name in self.secret and name not in self.stored:
            help_text = words.NEW.get(name, "")
        given: dict[str, Any] = {"label": label, "help_text": help_text, "required": False}
        given["initial"] = self.shown.get(name, self.schema[name].get("default"))
        quiet = {"autocomplete": "off", "spellcheck": "false"}
        if self.schema[name].get("type") == "boolean":
            return forms.BooleanField(**given)
        if name == HEADERS:
            given["initial"] = ""
            return forms.CharField(widget=forms.Textarea({"rows": 2, "class": "code", **quiet}), **given)
        if name in self.secret:
            given["initial"] = ""
            # What was just entered comes back until it is saved; what is stored never does.
            widget = forms.PasswordInput({"autocomplete": "new-password"}, render_value=True)
            return forms.CharField(widget=widget, strip=False, **given)
        if "enum" in self.schema[name]:
            return forms.ChoiceField(choices=[(one, one) for one in self.schema[name]["enum"]], **given)
        if name in LONG:
            return forms.CharField(widget=forms.Textarea({"rows": 3, "class": "code", **quiet}), **given)
        return forms.CharField(widget=forms.TextInput(quiet), **given)

    def further(self) -> forms.Field:
        rest = {name: value for name, value in self.shown.items() if name not in self.single}
        known = words.KINDS.get(self.kind.name)
        text = tomlkit.dumps(rest) if rest else known.example if known and not self.shown else ""
        rows = min(max(text.count("\n") + 2, 4), 24)
        widget = forms.Textarea({"rows": rows, "class": "code", "spellcheck": "false"})
        return forms.CharField(
            label=words.FURTHER,
            help_text=words.FURTHER_HELP,
            required=False,
            initial=text,
            widget=widget,
            max_length=MAX_POLICY_CHARS,
        )

    def clean_headers(self) -> dict[str, str]:
        found = {}
        for line in self.cleaned_data[HEADERS].splitlines():
            name, colon, value = line.partition(":")
            if not line.strip():
                continue
            if not colon or not name.strip() or not value.strip():
                raise forms.ValidationError(_("Each line has to be Name: value."))
            found[name.strip()] = value.strip()
        return found

    def clean_further(self) -> dict[str, Any]:
        try:
            found = tomllib.loads(self.cleaned_data[FURTHER])
        except tomllib.TOMLDecodeError as error:
            raise forms.ValidationError(localized(Fact("policy.not_toml", {"text": str(error)}))) from None
        except (ValueError, RecursionError):
            raise forms.ValidationError(localized(Fact("policy.too_large_for_toml"))) from None
        plain: dict[str, Any] = json.loads(json.dumps(found, default=str))  # without times
        return plain

    @property
    def config(self) -> dict[str, Any]:
        """Return what a valid form says. A secret that is left out stays, one that is removed is empty."""
        given = dict(self.cleaned_data.get(FURTHER) or {})
        for name in self.single:
            value = self.cleaned_data.get(name)
            if name in self.secret:
                if value:
                    given[name] = value
                elif self.cleaned_data.get(REMOVE + name):
                    given[name] = {} if name == HEADERS else ""
            elif self.type_of(name) in ("number", "integer") and value:
                given[name] = _number(str(value))
            elif value not in ("", None):
                given[name] = value
        return given

    def refuse(self, error: InvalidConfig) -> None:
        """Show what is wrong at the fields, with the path of what has parts."""
        for path, fact in error.errors.items():
            first, _dot, rest = path.partition(".")
            name = first if first in self.fields else FURTHER if FURTHER in self.fields else None
            text = localized(fact)
            self.add_error(
                name, text if name == first and not rest else _("%(path)s: %(text)s") % {"path": path, "text": text}
            )


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text.replace(",", "."))
        except ValueError:
            return text
