"""Filters of lists: a GET form whose fields form the URL, and chips for active filters."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.db.models import Model
from django.forms.utils import flatatt
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from django_htmx.http import push_url

from common.moments import MomentField
from dashboard import keyset
from dashboard.keyset import Page
from dashboard.scope import Scope

RANGES = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
RANGE_LABELS = {"24h": _("Last 24 hours"), "7d": _("Last 7 days"), "30d": _("Last 30 days")}
YEARS = (2000, 2100)
# Options of one select.
OFFERED = 200
MOMENT = "%Y-%m-%dT%H:%M"
# Parameters that are no filters.
PAGING = ("cursor",)
UNKNOWN_CHOICE = _("There is no such choice any more. Pick another one.")


class Select(forms.Select):
    """Select rendered without a template per option: a user may have hundreds of projects.

    Of thousands it offers the first ones, and the chosen one. Any may be chosen by the URL.
    """

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        chosen, choices = str(value or ""), list(self.choices)
        offered = choices[:OFFERED] + [choice for choice in choices[OFFERED:] if str(choice[0]) == chosen]
        options = format_html_join(
            "",
            '<option value="{}"{}>{}</option>',
            ((key, mark_safe(" selected") if str(key) == chosen else "", label) for key, label in offered),
        )
        if len(offered) < len(choices):
            more = _("… and %(n)s more: search by name") % {"n": len(choices) - len(offered)}
            options += format_html("<option disabled>{}</option>", more)
        given = flatatt(self.build_attrs(self.attrs, {**(attrs or {}), "name": name}))
        return format_html("<select{}>{}</select>", given, options)


def choice_field(label: Any, nothing: Any, choices: Iterable[tuple[str, Any]]) -> forms.ChoiceField:
    """Return a field for one of the choices or none."""
    return forms.ChoiceField(
        label=label,
        required=False,
        widget=Select,
        choices=[("", nothing), *choices],
        error_messages={"invalid_choice": UNKNOWN_CHOICE},
    )


def validate_year(moment: datetime) -> None:
    """Raise ValidationError for a year far away."""
    if not YEARS[0] <= moment.year <= YEARS[1]:
        years = {"first": YEARS[0], "last": YEARS[1]}
        raise forms.ValidationError(_("The year has to lie between %(first)d and %(last)d."), params=years)


def moment_field(label: Any) -> MomentField:
    """Return a field for a time in the user's time zone."""
    return MomentField(
        label=label,
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}, format=MOMENT),
        validators=[validate_year],
        error_messages={"invalid": _("This is no time. Write it as 2026-11-23T14:30.")},
    )


class ListFilters(forms.Form):
    """Filters common to all lists.

    With an invalid value the list is empty and names the error, so that never more is shown than was asked for.
    """

    project = choice_field(_("Project"), pgettext_lazy("filter", "All projects"), [])
    environment = choice_field(_("Environment"), pgettext_lazy("filter", "All environments"), [])
    range = choice_field(pgettext_lazy("filter", "Time"), pgettext_lazy("filter", "Any time"), RANGE_LABELS.items())
    since = moment_field(_("From"))
    until = moment_field(_("To"))

    # Fields that order the list and do not filter.
    ordering: tuple[str, ...] = ()
    # Fields behind "More filters".
    extra: tuple[str, ...] = ("since", "until")

    # The rows: their model, path to the deployment, column of the time, and columns that equal the field of their name.
    model: type[Model]
    through = ""
    moment = ""
    equal: tuple[str, ...] = ()

    def __init__(self, data: Mapping[str, Any], scope: Scope) -> None:
        super().__init__({name: data.get(name) for name in data})
        self.scope = scope
        for field, choices in self.offered().items():
            offered: Any = self.fields[field]
            offered.choices = [*offered.choices, *choices]
        self.full_clean()

    def offered(self) -> dict[str, Iterable[tuple[str, Any]]]:
        """Return the choices of fields that depend on what the user may see."""
        names = ((name, name) for name in self.scope.environment_names)
        return {"project": self.scope.labels.items(), "environment": names}

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        since, until = data.get("since"), data.get("until")
        if since and until and until <= since:
            self.add_error("until", _("This has to be later than “From”."))
        return data

    @property
    def values(self) -> dict[str, Any]:
        """Return the valid values by field; "" or None if not set."""
        return self.cleaned_data

    @property
    def seen(self) -> Scope:
        """Return the projects of the list."""
        return self.scope.narrowed(self.values["project"]) if self.values.get("project") else self.scope

    def rows(self) -> Any:
        """Return the matching rows; none with an invalid filter."""
        if not self.is_valid():
            return self.model._default_manager.none()
        since, until = self.span()
        wanted = {f"{self.moment}__gte": since, f"{self.moment}__lt": until}
        wanted |= {name: self.values[name] for name in self.equal}
        given = {name: value for name, value in wanted.items() if value}
        seen = self.seen.condition(self.values["environment"], self.through)
        return self.model._default_manager.filter(seen, **given)

    def span(self) -> tuple[datetime | None, datetime | None]:
        """Return start and end; None: unbounded."""
        since, until, name = (self.values.get(field) for field in ("since", "until", "range"))
        recent = timezone.now() - RANGES[name] if name else None
        return max(filter(None, (since, recent)), default=None), until

    @property
    def query(self) -> dict[str, str]:
        """Return the active filters as written, and the order: the query of the URL."""
        given = {name: str(self.data.get(name) or "").strip() for name in self.fields}
        return {name: text for name, text in given.items() if text}

    def address(self, path: str, without: Iterable[str] = (), **more: str) -> str:
        """Return the path with the filters, without some of them, and with additional parameters where not empty."""
        kept = {name: text for name, text in self.query.items() if name not in set(without)}
        query = kept | {name: text for name, text in more.items() if text}
        return f"{path}?{urlencode(query)}" if query else path

    @property
    def is_filtered(self) -> bool:
        return any(name not in self.ordering for name in self.query)

    @property
    def shows_more(self) -> bool:
        """Return whether a filter behind "More filters" is active."""
        return any(name in self.query for name in self.extra)

    @property
    def first_fields(self) -> list[Any]:
        return [self[name] for name in self.fields if name not in self.extra]

    @property
    def extra_fields(self) -> list[Any]:
        return [self[name] for name in self.extra]

    @property
    def troubles(self) -> list[tuple[Any, Any]]:
        """Return fields with an invalid value and their errors."""
        return [(self[name], " ".join(map(str, errors))) for name, errors in self.errors.items()]

    @property
    def unknown(self) -> list[str]:
        """Return the parameters of the URL that the list does not know: a misspelt filter filters nothing."""
        return [name for name in self.data if name not in self.fields and name not in PAGING]

    def chips(self, path: str) -> list[dict[str, Any]]:
        """Return the active filters: label, value, and URL of the list without it."""
        return [
            {"label": self.fields[name].label, "value": self._shown(name), "address": self.address(path, [name])}
            for name in self.query
            if name not in self.ordering
        ]

    def _shown(self, name: str) -> Any:
        value = self.values.get(name)
        if isinstance(value, datetime):
            return date_format(timezone.localtime(value), "SHORT_DATETIME_FORMAT")
        choices: Any = getattr(self.fields[name], "choices", ())
        return dict(choices).get(value) or self.query[name] if value else self.query[name]


def answer(request: HttpRequest, page: str, part: str, context: dict[str, Any]) -> HttpResponse:
    """Return the page, or only its list for htmx; the browser then shows the URL without empty fields."""
    htmx: Any = getattr(request, "htmx", None)
    if not htmx or htmx.history_restore_request:
        response = render(request, page, context)
    else:
        response = push_url(render(request, part, context), context["address"])
    patch_vary_headers(response, ["HX-Request"])
    return response


def list_context(request: HttpRequest, filters: ListFilters, page: Page, path: str) -> dict[str, Any]:
    """Return what the templates of every list need. path: of the list."""
    cursor = request.GET.get("cursor", "")
    return {
        "filters": filters,
        "page": page,
        "path": path,
        "cursor": cursor,
        "counted": keyset.COUNTED,
        "chips": filters.chips(path),
        "address": filters.address(path, cursor=cursor),
        "newer": filters.address(path, cursor=page.newer) if page.newer else "",
        "older": filters.address(path, cursor=page.older) if page.older else "",
        "newest": filters.address(path),
        "unfiltered": filters.address(path, [name for name in filters.fields if name not in filters.ordering]),
    }
