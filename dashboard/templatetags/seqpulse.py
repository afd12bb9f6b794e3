"""How pages write numbers, times and badges."""

from __future__ import annotations

import secrets
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from django import template
from django.forms import BoundField
from django.template.loader import render_to_string
from django.utils import formats, timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from analysis.judge.hints.base import UNREACHABLE
from analysis.judge.types import Check
from dashboard import words
from dashboard.form_tokens import FIELD
from dashboard.i18n import localised, quantity
from dashboard.i18n import message as rendered
from dashboard.overview.history_bar import HEIGHT, WIDTH, HistoryBar
from projects.policy import Policy

register = template.Library()

MINUTE, HOUR, DAY = 60, 3600, 86400


@register.filter
def message(fact: Any) -> str:
    """A fact in the language of the page; text as it is, "" for None."""
    return "" if fact is None else rendered(fact)


@register.filter
def check_name(check: Check) -> Any:
    """What a check is about: its metric, or whether the service could be reached, which is filed under traffic."""
    return _("Reachability") if check.rule == UNREACHABLE else metric_label(check.metric)


@register.filter
def seconds_in_words(seconds: float | None) -> str:
    """A duration in s as "0.8 s", "45 s", "3 min 20 s", "1 h 5 min" or "2 d 3 h"; "" for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return _("%(n)s s") % {"n": localised(f"{max(0.0, seconds):.1f}".removesuffix(".0"))}
    whole = round(seconds)
    units = ((DAY, _("%(n)s d")), (HOUR, _("%(n)s h")), (MINUTE, _("%(n)s min")), (1, _("%(n)s s")))
    first = next(place for place, (size, _text) in enumerate(units) if whole >= size)
    shown = []
    for size, text in units[first : first + 2]:
        count, whole = divmod(whole, size)
        if count:
            shown.append(text % {"n": count})
    return " ".join(shown)


@register.filter
def ms_in_words(ms: int | None) -> str:
    """A duration in ms, written as seconds_in_words does."""
    return seconds_in_words(None if ms is None else ms / 1000)


@register.filter
def ago(moment: datetime | None) -> str:
    """How long ago, in one unit: "just now", "40 s ago", "3 min ago", "5 h ago", "12 d ago"."""
    if moment is None:
        return ""
    seconds = (timezone.now() - moment).total_seconds()
    if seconds < 5:
        return _("just now")
    for unit, words_of_unit in ((DAY, _("%(n)s d ago")), (HOUR, _("%(n)s h ago")), (MINUTE, _("%(n)s min ago"))):
        if seconds >= unit:
            return words_of_unit % {"n": int(seconds // unit)}
    return _("%(n)s s ago") % {"n": int(seconds)}


@register.filter
def zone(moment: datetime | None = None) -> str:
    """What the person's time zone is called at this moment, now where there is none: "CET", "UTC", "UTC+03"."""
    name = timezone.localtime(moment or timezone.now()).tzname() or "UTC"
    return name if name[0].isalpha() else f"UTC{name}"


@register.simple_tag
def zone_now() -> str:
    """What the person's time zone is called now."""
    return zone()


@register.simple_tag
def form_token() -> SafeString:
    """A field by which a form is told from all others (dashboard/form_tokens.py)."""
    return format_html('<input type="hidden" name="{}" value="{}">', FIELD, secrets.token_urlsafe(16))


@register.filter
def bare(field: BoundField) -> BoundField:
    """The field without the placeholder that repeats its label."""
    field.field.widget.attrs.pop("placeholder", None)
    return field


@register.filter
def as_text_file(lines: list[str]) -> str:
    """An address that holds these lines as a text file, to download what the server shows only once."""
    return "data:text/plain;charset=utf-8," + quote("".join(f"{line}\n" for line in lines))


@register.filter
def moment(at: datetime | None) -> str:
    """A time to the second, in the person's language and time zone, which it names; "" for None."""
    if at is None:
        return ""
    local = timezone.localtime(at)
    return f"{formats.date_format(local, 'DATE_FORMAT')}, {local:%H:%M:%S} {zone(at)}"


@register.filter
def when(at: datetime) -> SafeString:
    """A time as long ago as it is, with the moment itself to point at."""
    iso = timezone.localtime(at).isoformat()
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, moment(at), ago(at))


@register.filter
@lru_cache(maxsize=64)
def icon(name: str, size: int = 16) -> SafeString:
    """One of layout/_icon.html: lists show the same few again and again."""
    drawn: SafeString = render_to_string("layout/_icon.html", {"name": name, "size": size})
    return drawn


@register.filter
def badge(status: words.Status) -> SafeString:
    """A status in its colour: shape and text."""
    return format_html('<span class="badge {}">{}{}</span>', status.key, icon(status.icon), status.label)


@register.filter
def counts(record: Any) -> SafeString:
    """How many of each verdict, the best first: shape and number, with the name to point at and to hear. record: has
    `counts`, pairs of a status and a number."""
    drawn = (
        (status.key, "" if number else " nothing-of-it", status.label, icon(status.icon), colon(status.label), number)
        for status, number in record.counts
    )
    shape = '<span class="count {}{}" title="{}">{}<span class="visually-hidden">{} </span>{}</span>'
    return format_html_join("", shape, drawn)


@register.filter
def history_bar(days: HistoryBar) -> SafeString:
    """Draw the bar as SVG, without a template: an overview has thousands of cells."""
    labels = {name: escape(status.label) for name, status in words.VERDICTS.items()}
    language = get_language()
    drawn = [
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" aria-hidden="true"'
        f' focusable="false"><path d="{"".join(f"M{x} 19.5h6" for x in days.empty)}" class="strip-none"/>'
    ]
    for cell in days.cells:
        counted = ", ".join([f"{number} {labels[name]}" for name, number in cell.counts.items()])
        drawn.append(
            f'<rect x="{cell.x}" y="{cell.y}" width="6" height="{cell.height}" rx="1" class="strip-{cell.verdict}">'
            f"<title>{day_in_short(cell.day, language)} {counted}</title></rect>"
        )
    drawn.append("</svg>")
    return SafeString("".join(drawn))


@lru_cache(maxsize=256)
def day_in_short(day: date, _language: str | None) -> str:
    """The day with a colon behind it, as the language writes them, for markup."""
    return escape(colon(formats.date_format(day, "SHORT_DATE_FORMAT")))


@register.filter
def level(value: float | None, metric: str) -> str:
    """A metric's value with its unit; a dash where there is none."""
    return "–" if value is None else quantity(value, metric)


@register.filter
def percent(ratio: float | None) -> str:
    """A ratio 0..1 as "12 %"; a dash where there is none."""
    return "–" if ratio is None else quantity(ratio, "whole_percent")


@register.filter
def change(value: float | None, is_points: bool) -> str:
    """A difference with its sign: "+12 %" of a relative change, "+1.4 pts" of percentage points."""
    if value is None:
        return ""
    if is_points:
        return _("%(n)s pts") % {"n": signed(value * 100, 1)}
    if abs(value) < 100:
        return sign(value * 100, 0) + quantity(abs(value), "whole_percent")
    return f"×{localised(f'{value + 1:.3g}')}"


def signed(number: float, digits: int) -> str:
    """A number with its sign, typographically: "+3", "−3", "±0"."""
    shown = sign(number, digits)
    return "±0" if shown == "±" else shown + localised(f"{abs(number):.{digits}f}")


def sign(number: float, digits: int) -> str:
    """Of a number that is shown with so many decimals: "+", "−", or "±" where it reads 0."""
    return "±" if round(number, digits) == 0 else "+" if number > 0 else "−"


@register.filter
def metric_label(metric: str) -> Any:
    """The metric's name for people; an unknown one as it is."""
    return words.METRICS.get(metric, metric)


@register.filter
def confidence_word(confidence: float) -> Any:
    """Confidence 0..1 as "high", "moderate" or "low"."""
    return words.confidence_word(confidence)


@register.filter
def outcome(name: str) -> words.Status:
    """How a check ended, as a badge."""
    return words.OUTCOMES.get(name, words.UNKNOWN)


@register.filter
def severity(name: str) -> words.Status:
    """How severe a hint is, as a badge."""
    return words.SEVERITIES.get(name, words.UNKNOWN)


@register.filter
def verdict_label(name: str) -> Any:
    """A verdict for people."""
    return words.VERDICTS.get(name, words.UNKNOWN).label


@register.filter
def verdict_status(name: str) -> words.Status:
    """A verdict as a badge."""
    return words.VERDICTS.get(name, words.UNKNOWN)


@register.filter
def policy_source(name: str) -> Any:
    """Where a version of a policy came from."""
    return words.POLICY_SOURCES.get(name, name)


@register.filter
def policy_in_short(policy: Policy) -> str:
    """ "adaptive, high, shadow mode"."""
    parts = (policy.kind, getattr(policy, "sensitivity", ""), "shadow" if getattr(policy, "shadow", False) else "")
    return ", ".join(str(words.IN_SHORT.get(part, part)) for part in parts if part)


@register.filter
def result(name: str) -> Any:
    """The pipeline's result for people."""
    return words.RESULTS.get(name, name)


@register.filter
def phase(name: str) -> Any:
    """The phase of a sample for people."""
    return words.PHASES.get(name, name)


@register.filter
def colon(label: Any) -> str:
    """The label with a colon behind it: French puts a space between them."""
    return _("%(label)s:") % {"label": label}


@register.filter
def within(path: str, address: str) -> bool:
    """Whether the path is the address or below it."""
    return path.startswith(address)
