"""How numbers are rounded and which unit they get, by the names that placeholders use. Register an app's own beside its
templates."""

import math

from explain.catalogue import Plural, Unit, register
from explain.catalogue import gettext_noop as _
from explain.languages import Language

MS, _S, _MIN, _H, PERCENT, _RATE = _("{n} ms"), _("{n} s"), _("{n} min"), _("{n} h"), _("{n} %"), _("{n} req/s")
# Some languages bend the word by the number.
_POINTS = Plural("n", "{n} points", "{n} points")


def number(value: float, language: Language) -> str:
    """Three significant digits: 0.004, 3.2, 118, 12,500."""
    size = abs(value)
    if size >= 1000:
        return language.digits(f"{value:,.0f}")
    if size >= 100:
        return language.digits(f"{value:.0f}")
    return language.digits(f"{value:.3g}" if size >= 1 else f"{value:.2g}" if size else "0")


def with_unit(template: str, digits: str, language: Language) -> str:
    """Digits as English writes them, with the unit behind them."""
    return language.text(template).replace("{n}", language.digits(digits))


def milliseconds(value: float, language: Language) -> str:
    """A duration in ms: 118 ms, 12.4 s."""
    template, value = (MS, value) if value < 10_000 else (_S, value / 1000)
    return language.text(template).replace("{n}", number(value, language))


def duration(seconds: float, language: Language) -> str:
    """A duration in s: 0.2 s, 45 s, 12 min, 3.5 h."""
    if seconds < 120:
        return with_unit(_S, f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}", language)
    if seconds < 7200:
        return with_unit(_MIN, f"{seconds / 60:.0f}", language)
    return with_unit(_H, f"{seconds / 3600:.1f}", language)


def axis_time(seconds: float, language: Language) -> str:
    """A mark on an axis of time: 5 min, 90 s, 1.5 s."""
    if seconds >= 60 and seconds % 60 == 0:
        return with_unit(_MIN, f"{seconds / 60:.0f}", language)
    return with_unit(_S, f"{seconds:.3g}", language)


def percent(ratio: float, language: Language) -> str:
    """A ratio 0..1 in per cent, three significant digits: 0.2 %, 12 %."""
    return language.text(PERCENT).replace("{n}", number(ratio * 100, language))


def whole_percent(ratio: float, language: Language) -> str:
    """A ratio 0..1 in whole per cent: 12 %."""
    return with_unit(PERCENT, f"{ratio * 100:.0f}", language)


def points(difference: float, language: Language) -> str:
    """A difference of ratios in percentage points: 0.6 points."""
    value = difference * 100
    count = int(abs(value)) if math.isfinite(value) else 2
    return language.plural(_POINTS.one, _POINTS.many, count).replace("{n}", number(value, language))


def rate(per_second: float, language: Language) -> str:
    """Requests per second: 0.25 req/s, 12.3 req/s, 118 req/s."""
    return with_unit(_RATE, level(per_second), language)


def level(value: float) -> str:
    """The digits of a level of a metric: three significant ones, and no decimals from 100 on."""
    if 100 <= value < 1e7:
        return f"{value:.0f}"
    return f"{value:.3g}" if value < 1 or value >= 1e7 else f"{value:.1f}"


def whole(value: float) -> int:
    """A count as a whole number; of what was counted at all, at least one."""
    return max(round(value), 1) if value > 0 else 0


def count(value: float, language: Language) -> str:
    """A count, which may be an estimate: 0, 3, 2,449."""
    return language.digits(f"{whole(value):,}")


def counted(noun: Plural) -> Unit:
    """Return a unit that writes a count with its noun: 1 sample, 5 samples."""

    def write(value: float, language: Language) -> str:
        digits = count(value, language)
        return language.plural(noun.one, noun.many, whole(value)).replace("{n}", digits)

    return write


COUNTED = {
    "n_samples": Plural("n", "{n} sample", "{n} samples"),
    "n_collections": Plural("n", "{n} collection", "{n} collections"),
    "n_requests": Plural("n", "{n} request", "{n} requests"),
    "n_minutes": Plural("n", "{n} minute", "{n} minutes"),
    "n_times": Plural("n", "{n} time", "{n} times"),
    "n_events": Plural("n", "{n} event", "{n} events"),
    "n_changes": Plural("n", "{n} judged change", "{n} judged changes"),
}

register(
    {},
    {
        **{name: counted(noun) for name, noun in COUNTED.items()},
        "count": count,
        "number": number,
        "ms": milliseconds,
        "duration": duration,
        "axis_time": axis_time,
        "percent": percent,
        "whole_percent": whole_percent,
        "points": points,
        "rate": rate,
    },
)
