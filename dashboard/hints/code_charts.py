"""Compute charts of hints by day; _code_chart.html draws them as SVG. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

WIDTH, HEIGHT = 320.0, 56.0
# From the axis upwards.
SEVERITIES = ("critical", "warning", "info")
# Number of codes with their own chart; the others share the last one.
MOST_CHARTS = 8
OTHER = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one severity as one SVG path."""

    severity: str
    path: str


@dataclass(frozen=True, slots=True)
class CodeChart:
    """One code, "" for all others; by_day: counts, oldest first."""

    code: str
    total: int
    counts: tuple[tuple[str, int], ...]
    bars: tuple[Bars, ...]
    by_day: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CodeCharts:
    """All charts on one scale; most: count of the highest column."""

    charts: tuple[CodeChart, ...]
    days: tuple[date, ...]
    most: int
    total: int

    @property
    def last(self) -> date:
        return self.days[-1]

    @property
    def table(self) -> list[tuple[date, list[str]]]:
        """Return the counts of each chart by day as text, latest first."""
        rows = [(day, [str(chart.by_day[spot]) for chart in self.charts]) for spot, day in enumerate(self.days)]
        return rows[::-1]


def draw(counted: Iterable[tuple[date, str, str, int]], days: Sequence[date]) -> CodeCharts:
    """Compute the charts. counted: (day, code, severity, number); days: consecutive."""
    counts: Counter[tuple[str, date, str]] = Counter()
    totals: Counter[str] = Counter()
    shown = set(days)
    for day, code, severity, count in counted:
        if day in shown:
            counts[code, day, severity] += count
            totals[code] += count
    codes = [code for code, _ in sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))]
    groups = [[code] for code in codes[:MOST_CHARTS]] + ([codes[MOST_CHARTS:]] if codes[MOST_CHARTS:] else [])
    tables = [{day: _of(counts, group, day) for day in days} for group in groups]
    most = max((sum(row.values()) for table in tables for row in table.values()), default=0)
    charts = tuple(
        _chart(group[0] if len(group) == 1 else OTHER, table, days, most)
        for group, table in zip(groups, tables, strict=True)
    )
    return CodeCharts(charts, tuple(days), most, sum(totals.values()))


def _of(counts: Counter[tuple[str, date, str]], codes: Sequence[str], day: date) -> dict[str, int]:
    return {severity: sum(counts[code, day, severity] for code in codes) for severity in SEVERITIES}


def _chart(code: str, table: dict[date, dict[str, int]], days: Sequence[date], most: int) -> CodeChart:
    sums = {severity: sum(row[severity] for row in table.values()) for severity in SEVERITIES}
    return CodeChart(
        code=code,
        total=sum(sums.values()),
        counts=tuple((severity, count) for severity, count in sums.items() if count),
        bars=tuple(_bars(severity, [table[day] for day in days], most) for severity, count in sums.items() if count),
        by_day=tuple(sum(table[day].values()) for day in days),
    )


def _bars(severity: str, rows: Sequence[dict[str, int]], most: int) -> Bars:
    """Return the bars of one severity, stacked on those of the earlier ones."""
    room = WIDTH / len(rows)
    width = min(room * 0.78, 18.0)
    below = SEVERITIES[: SEVERITIES.index(severity)]
    pieces = []
    for spot, row in enumerate(rows):
        if row[severity]:
            foot = HEIGHT - sum(_height(row[name], most) for name in below)
            left, height = spot * room + (room - width) / 2, _height(row[severity], most)
            pieces.append(f"M{left:.1f} {foot:.1f}v-{height:.1f}h{width:.1f}v{height:.1f}z")
    return Bars(severity, "".join(pieces))


def _height(count: int, most: int) -> float:
    # Keep one hint visible beside a column of hundreds.
    return max(count / most * (HEIGHT - 4), 1.5) if count else 0.0
