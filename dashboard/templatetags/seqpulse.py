"""Template tags and filters for numbers, times and badges."""

import secrets
import time
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

from django import template
from django.forms import BoundField
from django.template.loader import render_to_string
from django.urls import Resolver404, get_script_prefix, resolve, reverse
from django.utils import formats, timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from accounts.models import Role
from analysis.judge.types import UNREACHABLE, Check, amount
from common.holding import can_hold
from dashboard import labels
from dashboard.forms import FIELD
from dashboard.i18n import localised, quantity
from dashboard.i18n import message as rendered
from dashboard.overview.parts import CELL, HEIGHT, WIDTH, HistoryBar
from deployments.models import Deployment
from explain import units
from metrics.models import MetricSample
from projects.policy import CustomMetric, Policy

register = template.Library()

MINUTE, HOUR, DAY = 60, 3600, 86400
JUST_NOW_S = 5


@register.filter
def message(fact: Any) -> str:
    """Render a fact in the active language; text unchanged, "" for None."""
    return "" if fact is None else rendered(fact)


@register.filter
def check_name(check: Check) -> Any:
    """Name the subject of a check: its metric, or reachability, which is stored under traffic."""
    return _("Reachability") if check.rule == UNREACHABLE else metric_label(check.metric)


@register.filter
def seconds_in_words(seconds: float | None) -> str:
    """Write a duration in s as "0.8 s", "45 s", "3 min 20 s", "1 h 5 min" or "2 d 3 h"; "" for None."""
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
def rounded(number: float | None) -> str:
    """Write an approximate count with two or three significant digits: "37", "1 230", "45 000"; "–" if unknown."""
    if number is None:
        return "–"
    digits = max(0, len(f"{number:.0f}") - 3)
    return formats.number_format(round(number, -digits), 0, use_l10n=True, force_grouping=True)


register.filter("whole", lambda number: units.whole(number or 0))
register.filter("on_samples", labels.on_samples)


@register.filter
def ms_in_words(ms: int | None) -> str:
    """Write a duration in ms, like seconds_in_words."""
    return seconds_in_words(None if ms is None else ms / 1000)


def ago_words() -> dict[int, str]:
    """Return how to write an elapsed time, by the seconds of the unit, largest first."""
    return {DAY: _("%(n)s d ago"), HOUR: _("%(n)s h ago"), MINUTE: _("%(n)s min ago"), 1: _("%(n)s s ago")}


@register.filter
def ago(moment: datetime | None) -> str:
    """Write the elapsed time in one unit: "just now", "40 s ago", "3 min ago", "5 h ago", "12 d ago"."""
    if moment is None:
        return ""
    seconds = (timezone.now() - moment).total_seconds()
    if seconds < JUST_NOW_S:
        return _("just now")
    unit, words = next(pair for pair in ago_words().items() if seconds >= pair[0])
    return words % {"n": int(seconds // unit)}


@register.simple_tag
def live_clock() -> SafeString:
    """Write the attributes with which live.js keeps elapsed times up to date: the time now, and the words of `ago`."""
    units = format_html_join("", ' data-ago-{}="{}"', ((s, words % {"n": "{n}"}) for s, words in ago_words().items()))
    return format_html(' data-now="{}" data-just-now="{}"{}', int(time.time()), _("just now"), units)


@register.filter
def zone(moment: datetime | None = None) -> str:
    """Name the user's time zone at a time, by default now: "CET", "UTC", "UTC+03"."""
    name = timezone.localtime(moment or timezone.now()).tzname() or "UTC"
    return name if name[0].isalpha() else f"UTC{name}"


@register.simple_tag
def zone_now() -> str:
    """Name the user's time zone now."""
    return zone()


@register.simple_tag(takes_context=True)
def live_events(context: dict[str, Any], name: str, *args: Any) -> SafeString:
    """Write the attributes with the address of the page's events, as for `url`, and with the time of the answer.

    Nothing where the server holds no answers: the page polls.
    """
    if not can_hold(context["request"]):
        return SafeString()
    address = reverse(f"dashboard:{name}", args=args)
    return format_html(' data-live-events="{}" data-live-since="{}"', address, int(time.time()))


@register.simple_tag
def form_token() -> SafeString:
    """Write a field that identifies this form (dashboard/forms.py)."""
    return format_html('<input type="hidden" name="{}" value="{}">', FIELD, secrets.token_urlsafe(16))


@register.filter
def bare(field: BoundField) -> BoundField:
    """Remove the placeholder that repeats the label."""
    field.field.widget.attrs.pop("placeholder", None)
    return field


@register.filter
def as_text_file(lines: list[str]) -> str:
    """Return a data URL with these lines as a text file, to download what is shown only once."""
    return "data:text/plain;charset=utf-8," + quote("".join(f"{line}\n" for line in lines))


@register.filter
def moment(at: datetime | None) -> str:
    """Write a time to the second in the user's language and time zone, with its name; "" for None."""
    if at is None:
        return ""
    local = timezone.localtime(at)
    return f"{formats.date_format(local, 'DATE_FORMAT')}, {local:%H:%M:%S} {zone(at)}"


@register.filter
def when(at: datetime) -> SafeString:
    """Write the elapsed time, with the time itself as tooltip."""
    iso = timezone.localtime(at).isoformat(timespec="seconds")
    return format_html('<time data-ago datetime="{}" title="{}">{}</time>', iso, moment(at), ago(at))


@register.filter
@lru_cache(maxsize=64)
def icon(name: str, size: int = 16) -> SafeString:
    """Render an icon of layout/_icon.html, cached because lists repeat the same few."""
    return SafeString(render_to_string("layout/_icon.html", {"name": name, "size": size}).strip())


@register.filter
def badge(status: labels.Status) -> SafeString:
    """Render a status in its colour with shape and text."""
    return format_html('<span class="badge {}">{}{}</span>', status.key, icon(status.icon), status.label)


@register.filter
def counts(record: Any) -> SafeString:
    """Render the number of each verdict, best first, with the name as tooltip and for screen readers.

    record: has `counts`, pairs of a status and a number.
    """
    drawn = (
        (status.key, "" if number else " nothing-of-it", status.label, icon(status.icon), colon(status.label), number)
        for status, number in record.counts
    )
    shape = '<span class="count {}{}" title="{}">{}<span class="visually-hidden">{} </span>{}</span>'
    return format_html_join("", shape, drawn)


@register.filter
def history_bar(days: HistoryBar) -> SafeString:
    """Draw the bar as SVG, without a template and in few bytes: an overview has a thousand cells."""
    names = {name: escape(status.label) for name, status in labels.VERDICTS.items()}
    language = get_language()
    cells: dict[str, list[str]] = {}
    for cell in days.cells:
        counted = ", ".join([f"{number} {names[name]}" for name, number in cell.counts.items()])
        cells.setdefault(cell.verdict, []).append(
            f'<path d="M{cell.x + CELL // 2} {cell.y}v{cell.height}">'
            f"<title>{day_in_short(cell.day, language)} {counted}</title></path>"
        )
    drawn = "".join([f'<g class="strip-{verdict}">{"".join(bars)}</g>' for verdict, bars in cells.items()])
    nothing = "".join([f"M{x} 19.5h{CELL}" for x in days.empty])
    return SafeString(
        f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" aria-hidden="true">'
        f'<path d="{nothing}" class="strip-none"/>{drawn}</svg>'
    )


@lru_cache(maxsize=256)
def day_in_short(day: date, _language: str | None) -> str:
    """Write the day with a colon as the language does, for markup."""
    return escape(colon(formats.date_format(day, "SHORT_DATE_FORMAT")))


@register.filter
def level(value: float | None, of: Any) -> str:
    """Write a metric's value with its unit; a dash for None. of: the metric, or what is about one: a chart, a check."""
    if value is None:
        return "–"
    custom = getattr(of, "custom", None)
    details = {"unit": custom.unit, "kind": custom.kind} if custom is not None else getattr(of, "details", {})
    if "unit" in details and "kind" in details:
        return rendered(amount(value, unit=details["unit"], kind=details["kind"]))
    metric = getattr(of, "metric", of)
    return quantity(value, metric if metric in labels.METRICS else "number")


@register.filter
def custom_level(sample: MetricSample, metric: CustomMetric) -> str:
    """Write a sample's value of a custom metric; a dash where it has none."""
    value = (sample.custom_metrics or {}).get(metric.name)
    return "–" if value is None else rendered(amount(value, unit=metric.unit, kind=metric.kind))


@register.filter
def percent(ratio: float | None) -> str:
    """Write a ratio 0..1 as "12 %"; a dash for None."""
    return "–" if ratio is None else quantity(ratio, "whole_percent")


@register.filter
def change(value: float | None, is_points: bool) -> str:
    """Write a difference with its sign: "+12 %" for a relative change, "+1.4 pts" for percentage points."""
    if value is None:
        return ""
    if is_points:
        return _("%(n)s pts") % {"n": signed(value * 100, 1)}
    if abs(value) < 100:
        return sign(value * 100, 0) + quantity(abs(value), "whole_percent")
    return f"×{localised(f'{value + 1:.3g}')}"


def signed(number: float, digits: int) -> str:
    """Write a number with a typographic sign: "+3", "−3", "±0"."""
    shown = sign(number, digits)
    return "±0" if shown == "±" else shown + localised(f"{abs(number):.{digits}f}")


def sign(number: float, digits: int) -> str:
    """Return the sign of a number shown with so many decimals: "+", "−", or "±" if it reads 0."""
    return "±" if round(number, digits) == 0 else "+" if number > 0 else "−"


def metric_label(metric: str) -> Any:
    """Return the display name of a metric; that of a custom one is its name as words."""
    return (labels.METRICS | {"instances": labels.INSTANCES}).get(metric) or metric.replace("_", " ")


# Filters that look up the display name of a value, unknown ones unchanged, or a badge.
register.filter(metric_label)
register.filter("policy_source", lambda name: labels.POLICY_SOURCES.get(name, name))
register.filter("result", lambda name: labels.RESULTS.get(name, name))
register.filter("role_label", lambda name: Role(name).label)
register.filter("phase", lambda name: labels.PHASES.get(name, name))
register.filter("outcome", lambda name: labels.OUTCOMES.get(name, labels.UNKNOWN))
register.filter("severity", lambda name: labels.SEVERITIES.get(name, labels.UNKNOWN))
register.filter("verdict_status", labels.status_by_name)
register.filter("verdict_label", lambda name: labels.status_by_name(name).label)
register.filter(labels.confidence_word)


@register.filter
def policy_in_short(policy: Policy) -> str:
    """Summarize a policy: "adaptive, high, shadow mode"."""
    parts = (policy.kind, getattr(policy, "sensitivity", ""), "shadow" if getattr(policy, "shadow", False) else "")
    return ", ".join(str(labels.IN_SHORT.get(part, part)) for part in parts if part)


@register.filter
def colon(label: Any) -> str:
    """Append a colon to the label; French puts a space before it."""
    return _("%(label)s:") % {"label": label}


@register.filter
def within(path: str, address: str) -> bool:
    """Return whether the path is the URL or below it."""
    return path.startswith(address)


@register.simple_tag
def linked_state(path: str | None) -> Any:
    """Return the state of the deployment whose page has this path, as a text; "" for everything else.

    For the previews of links: a stranger who has a deployment's address learns this word, and no name.
    """
    try:
        match = resolve(urlsplit(path or "").path.removeprefix(get_script_prefix().rstrip("/")))
    except (Resolver404, ValueError):
        return ""
    if match.view_name != "dashboard:deployment":
        return ""
    rows = Deployment.objects.filter(environment__deleting_at=None, project__deleting_at=None)
    # Without the wide columns of deployments and verdicts: pages of sign-in ask this for whoever comes.
    narrow = rows.select_related("verdict").only("state", "verdict__verdict")
    found = narrow.filter(uuid=match.kwargs["uuid"]).first()
    return labels.status_of(found).label if found is not None else ""
