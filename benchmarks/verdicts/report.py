"""Print the report: tables, and the same figures as one JSON object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import quantiles
from typing import Any

from analysis.judge.types import OK, ROLLBACK, VERDICTS
from benchmarks.verdicts.figures import Answer, Figures, figures
from benchmarks.verdicts.run import ABLATIONS, ADAPTIVE, STRATA, Judged

BANDS = ("one", "few", "enough")
# Required figures (PRE 8 and more; PRE of one): name, bound, whether it is an upper bound.
FLOORS: dict[str, tuple[tuple[str, float, bool], ...]] = {
    "enough": (
        ("false_alarms", 0.03, True),
        ("false_rollbacks", 0.002, True),
        ("missed_criticals", 0.005, True),
        ("recall_degraded", 0.95, False),
        ("calibration_error", 0.03, True),
        ("cost", 0.06, True),
    ),
    "one": (("false_alarms", 0.07, True), ("cost", 0.14, True)),
}
COLUMNS = (
    ("false_alarms", "false alarms"),
    ("false_rollbacks", "false rollb."),
    ("missed_criticals", "missed crit."),
    ("critical_as_warning", "crit. as warn."),
    ("recall_degraded", "recall degr."),
    ("right", "right"),
    ("calibration_error", "calibration"),
)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _row(name: str, found: Figures, *, calibration: bool = True) -> str:
    cells = [
        "-" if column == "calibration_error" and not calibration else _percent(getattr(found, column))
        for column, _ in COLUMNS
    ]
    cost = "-" if found.cost is None else f"{found.cost:.4f}"
    return f"{name:30s} {found.cases:6d} " + " ".join(f"{cell:>14s}" for cell in cells) + f" {cost:>8s}"


def _head(title: str) -> list[str]:
    names = " ".join(f"{name:>14s}" for _, name in COLUMNS)
    return ["", title, f"{'':30s} {'cases':>6s} {names} {'cost':>8s}"]


def in_band(answers: Iterable[Answer], band: str) -> list[Answer]:
    """Return the answers for cases with this many PRE samples (one, few, enough)."""
    return [answer for answer in answers if answer.case.pre_band == band]


def _bands(title: str, answers: Sequence[Answer]) -> tuple[list[str], dict[str, Any]]:
    lines, data = _head(title), {}
    for band in BANDS:
        found = figures(in_band(answers, band))
        lines.append(_row(f"PRE {band}", found))
        data[band] = asdict(found)
    return lines, data


def confusion(answers: Sequence[Answer]) -> list[str]:
    """Return the table of label against answer. Accepted answers near a threshold count where they fell."""
    found = figures(answers)
    lines = ["", "label \\ answer (PRE enough)" + "".join(f"{verdict:>24s}" for verdict in VERDICTS)]
    rows = (f"{label:27s}" + "".join(f"{found.confusion[label][v]:24d}" for v in VERDICTS) for label in VERDICTS)
    return [*lines, *rows]


def by_kind(answers: Sequence[Answer]) -> tuple[list[str], dict[str, Any]]:
    """Return the share of right answers, and of answers other than ok, per kind of deployment and PRE band."""
    kinds = sorted({answer.case.kind for answer in answers})
    lines = ["", f"{'kind':26s}" + "".join(f"{'PRE ' + band:>20s}" for band in BANDS) + "      (right / not ok)"]
    data: dict[str, Any] = {}
    for kind in [*kinds, "any, from mid-window"]:
        cells, data[kind] = [], {}
        for band in BANDS:
            of_kind = [a for a in in_band(answers, band) if (a.case.late if kind not in kinds else a.case.kind == kind)]
            if not of_kind:
                cells.append("-")
                continue
            right = sum(a.right for a in of_kind) / len(of_kind)
            alarmed = sum(a.verdict != OK for a in of_kind) / len(of_kind)
            data[kind][band] = {"cases": len(of_kind), "right": right, "not_ok": alarmed}
            cells.append(f"{100 * right:.1f} / {100 * alarmed:.1f} %")
        lines.append(f"{kind:26s}" + "".join(f"{cell:>20s}" for cell in cells))
    return lines, data


def early(judged: Judged) -> tuple[list[str], dict[str, Any]]:
    """Return how many deployments got an early verdict, and after how many samples."""
    pairs = list(zip(judged.answers[ADAPTIVE], judged.early, strict=True))
    healthy = [at for answer, at in pairs if answer.case.label == OK]
    critical = [at for answer, at in pairs if answer.case.label == ROLLBACK]
    called = sorted(at for at in critical if at is not None)
    alarms = sum(at is not None for at in healthy)
    data = {
        "healthy": len(healthy),
        "early_alarms": alarms,
        "critical": len(critical),
        "called_early": len(called),
        "median_samples": called[len(called) // 2] if called else None,
    }
    line = (
        f"early verdicts: {alarms} of {len(healthy)} healthy deployments (false), "
        f"{len(called)} of {len(critical)} critical ones, after {data['median_samples']} samples (median)"
    )
    return ["", line], data


def timing(seconds: Sequence[float]) -> tuple[list[str], dict[str, Any]]:
    """Return ms per case."""
    cuts = quantiles(seconds, n=100)
    data = {"median_ms": 1000 * cuts[49], "p95_ms": 1000 * cuts[94], "p99_ms": 1000 * cuts[98]}

    text = ", ".join(f"{name.removesuffix('_ms')} {value:.2f} ms" for name, value in data.items())
    return ["", f"processor time per case: {text}"], data


def ablations(judged: Judged) -> tuple[list[str], dict[str, Any]]:
    """Return the figures of the judge without one of its ideas at a time."""
    lines: list[str] = []
    data: dict[str, Any] = {}
    same = {answer.case.id for answer in judged.answers[next(iter(ABLATIONS))]}
    everything = [answer for answer in judged.answers[ADAPTIVE] if answer.case.id in same]
    for band in ("enough", "one"):
        full = figures(in_band(everything, band))
        lines += [*_head(f"without one idea, PRE {band} (every second case)"), _row("the judge", full)]
        data[band] = {"all": asdict(full)}
        for name, (words, _) in ABLATIONS.items():
            found = figures(in_band(judged.answers[name], band))
            lines.append(_row(f"- {name}", found) + f"  {words}")
            data[band][name] = asdict(found)
    return lines, data


def strata(answers: dict[str, tuple[list[Answer], list[Answer]]]) -> tuple[list[str], dict[str, Any]]:
    """Return the figures of each idea in its stratum: with and without it, all PRE sizes together."""
    lines, data = _head("each idea in its own stratum of the third world, with and without it"), {}
    for idea, (with_it, without_it) in answers.items():
        found = [figures(with_it), figures(without_it)]
        lines.append(_row(f"{idea}: with", found[0]) + f"  {STRATA[idea][0]}")
        lines.append(_row(f"{idea}: without", found[1]))
        data[idea] = {"stratum": STRATA[idea][0], "with": asdict(found[0]), "without": asdict(found[1])}
    return lines, data


def peers(judged: Judged) -> tuple[list[str], dict[str, Any]]:
    """Return the figures of all judges on the same cases."""
    lines: list[str] = []
    data: dict[str, dict[str, Any]] = {}
    for band in BANDS:
        lines += _head(f"judges compared, PRE {band}")
        for name, answers in judged.answers.items():
            if name in ABLATIONS:
                continue
            found = figures(in_band(answers, band))
            lines.append(_row(name, found, calibration=name == ADAPTIVE))
            data.setdefault(name, {})[band] = asdict(found)
    return lines, data


def floors(bands: dict[str, Any]) -> tuple[list[str], bool]:
    """Return lines about the floors, and whether all are met."""
    lines, met = ["", "floors"], True
    for band, bounds in FLOORS.items():
        for figure, bound, upper in bounds:
            value = bands[band][figure]
            good = value is not None and (value <= bound if upper else value >= bound)
            met &= good
            sign = "≤" if upper else "≥"
            shown = f"{value:.4f}" if value is not None else "-"
            lines.append(f"  PRE {band:7s} {figure:20s} {shown} {sign} {bound}  {'met' if good else 'NOT MET'}")
    return lines, met


def report(
    tuned: Judged,
    reported: Judged,
    others: dict[str, Judged],
    by_idea: dict[str, tuple[list[Answer], list[Answer]]],
    *,
    cases: int,
    seed: int,
) -> tuple[list[str], dict[str, Any]]:
    """Return the whole report: lines to print, and the figures."""
    lines = [f"verdict benchmark: seed {seed}, {cases} cases of the first world (half B reported)"]
    data: dict[str, Any] = {"seed": seed, "cases": cases}
    answers = reported.answers[ADAPTIVE]
    sections = {
        "half_b": _bands("half B, reported", answers),
        "half_a": _bands("half A", tuned.answers[ADAPTIVE]),
        "peers": peers(reported),
        "kinds": by_kind(answers),
        "early": early(reported),
        "time": timing(reported.seconds),
        "ablations": ablations(reported),
    }
    for name, (more, figures_of_it) in sections.items():
        lines += more
        data[name] = figures_of_it
    lines += confusion(in_band(answers, "enough"))
    for name, other in others.items():
        for key, (more, found) in {
            f"{name}_world": _bands(f"{name} world: other noise, other faults", other.answers[ADAPTIVE]),
            f"{name}_world_peers": peers(other),
            f"{name}_world_early": early(other),
        }.items():
            lines += more
            data[key] = found
    if by_idea:
        more, data["strata"] = strata(by_idea)
        lines += more
    more, met = floors(data["half_b"])
    data["floors_met"] = met
    return [*lines, *more], data
