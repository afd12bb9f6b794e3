"""Print the report: tables, and the same figures as one JSON object."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, quantiles
from typing import Any

from analysis.judge.types import OK, ROLLBACK, VERDICTS
from benchmarks.verdicts.figures import Answer, calibration, figures
from benchmarks.verdicts.peers import PEERS
from benchmarks.verdicts.run import ABLATIONS, ADAPTIVE, STRATA, Judged

BANDS = ("one", "few", "enough")
# Required figures by world and PRE (8 and more; one), of all seeds together.
FLOORS: dict[str, tuple[tuple[str, str, float], ...]] = {
    "first, PRE enough": (
        ("false_alarms", "≤", 0.02),
        ("false_rollbacks", "≤", 0.001),
        ("missed_criticals", "≤", 0.005),
        ("calibration_error", "≤", 0.03),
        ("cost", "≤", 0.035),
    ),
    "first, PRE one": (("false_rollbacks", "≤", 0.003), ("cost", "≤", 0.10)),
    "second, PRE enough": (("cost", "≤", 0.07),),
    "third, PRE enough": (("cost", "≤", 0.07),),
}
COLUMNS = (
    ("false_alarms", "false alarms"),
    ("false_rollbacks", "false rollb."),
    ("missed_criticals", "missed crit."),
    ("critical_as_warning", "crit. as warn."),
    ("recall_degraded", "recall degr."),
    ("right", "right"),
    ("calibration_error", "calibration"),
    ("cost_at_prior", "cost at prior"),
)


# Lines to print, and the same figures for the JSON object.
Section = tuple[list[str], dict[str, Any]]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _cell(column: str, value: float | None) -> str:
    return f"{value:.4f}" if value is not None and "cost" in column else _percent(value)


def _head(title: str) -> list[str]:
    names = " ".join(f"{name:>14s}" for _, name in COLUMNS)
    return ["", title, f"{'':30s} {'cases':>6s} {names} {'cost':>8s}"]


def _rows(rows: Mapping[str, tuple[str, Sequence[Answer], str]]) -> Section:
    """Return a line of figures per row. rows: key in the data, name, answers, and a note or ""."""
    lines, data = [], {}
    for key, (name, answers, note) in rows.items():
        data[key] = found = figures(answers)
        # The peers state no confidence.
        hidden = "calibration_error" if name in PEERS else ""
        cells = [_cell(column, None if column == hidden else found[column]) for column, _ in COLUMNS]
        cost = "-" if found["cost"] is None else f"{found['cost']:.4f}"
        line = f"{name:30s} {found['cases']:6d} " + " ".join(f"{cell:>14s}" for cell in cells) + f" {cost:>8s}  {note}"
        lines.append(line.rstrip())
    return lines, data


def in_band(answers: Iterable[Answer], band: str) -> list[Answer]:
    """Return the answers for cases with this many PRE samples (one, few, enough)."""
    return [answer for answer in answers if answer.case.pre_band == band]


def _bands(title: str, answers: Sequence[Answer]) -> Section:
    lines, data = _rows({band: (f"PRE {band}", in_band(answers, band), "") for band in BANDS})
    return _head(title) + lines, data


def confusion(answers: Sequence[Answer]) -> list[str]:
    """Return the table of label against answer. Accepted answers near a threshold count where they fell."""
    found = figures(answers)["confusion"]
    lines = ["", "label \\ answer (PRE enough)" + "".join(f"{verdict:>24s}" for verdict in VERDICTS)]
    return [*lines, *(f"{label:27s}" + "".join(f"{found[label][v]:24d}" for v in VERDICTS) for label in VERDICTS)]


def by_kind(answers: Sequence[Answer]) -> Section:
    """Return the share of right answers, and of answers other than ok, per kind of deployment and PRE band."""
    groups = {kind: [a for a in answers if a.case.kind == kind] for kind in sorted({a.case.kind for a in answers})}
    groups["any, from mid-window"] = [a for a in answers if a.case.late]
    lines = ["", f"{'kind':26s}" + "".join(f"{'PRE ' + band:>20s}" for band in BANDS) + "      (right / not ok)"]
    data: dict[str, Any] = {kind: {} for kind in groups}
    for kind, of_kind in groups.items():
        cells = dict.fromkeys(BANDS, "-")
        for band in BANDS:
            if found := in_band(of_kind, band):
                right, alarmed = fmean(a.right for a in found), fmean(a.verdict != OK for a in found)
                data[kind][band] = {"cases": len(found), "right": right, "not_ok": alarmed}
                cells[band] = f"{100 * right:.1f} / {100 * alarmed:.1f} %"
        lines.append(f"{kind:26s}" + "".join(f"{cell:>20s}" for cell in cells.values()))
    return lines, data


def calibrated(title: str, answers: Sequence[Answer]) -> Section:
    """Return per verdict and bin of confidence what share was right, weighted to the prior of deployments."""
    rows = calibration(answers)
    lines = ["", f"{title}: confidence and share of right answers, at the prior of deployments"]
    lines += [
        f"{row['verdict']:22s} from {row['from']:.2f} {row['cases']:6d} cases   confidence {row['confidence']:.3f}   "
        f"right {row['right']:.3f} ± {row['error']:.3f}"
        for row in rows
    ]
    return lines, {"bins": rows}


def seeds(by_world: Mapping[str, Mapping[int, Sequence[Answer]]]) -> Section:
    """Return the figures of all seeds together, and their range over the seeds. by_world: answers by world and seed."""
    lines, data = ["", "all seeds together (lowest to highest of a seed)"], {}
    shown = [column for column, _ in COLUMNS if column != "right"] + ["cost"]
    for world, by_seed in by_world.items():
        for band in BANDS:
            single = [figures(in_band(answers, band)) for answers in by_seed.values()]
            whole = figures([a for answers in by_seed.values() for a in in_band(answers, band)])
            if not whole["cases"]:
                continue
            ranges = {c: [one[c] for one in single if one[c] is not None] for c in shown}
            data[f"{world}, PRE {band}"] = {
                **{column: whole[column] for column in ["cases", *shown]},
                "range": {column: [min(values), max(values)] for column, values in ranges.items() if values},
            }
            lines.append(f"{world} world, PRE {band}: {whole['cases']} cases of {len(by_seed)} seeds")
            lines += [
                f"    {column:20s} {_cell(column, whole[column]):>9s}   "
                f"({_cell(column, min(values))} to {_cell(column, max(values))})"
                for column, values in ranges.items()
                if values
            ]
    return lines, data


def early(judged: Judged) -> Section:
    """Return how many deployments got an early verdict, and after how many samples."""
    pairs = list(zip(judged.answers[ADAPTIVE], judged.early, strict=True))
    healthy = [at for answer, at in pairs if answer.case.label == OK]
    critical = [at for answer, at in pairs if answer.case.label == ROLLBACK]
    called = sorted(at for at in critical if at is not None)
    alarms = sum(at is not None for at in healthy)
    saved = sum(a.case.window.expected - at for a, at in pairs if a.case.label == ROLLBACK and at is not None)
    minutes = sum(answer.case.window.expected for answer, _ in pairs if answer.case.label == ROLLBACK)
    data = {
        "healthy": len(healthy),
        "early_alarms": alarms,
        "critical": len(critical),
        "called_early": len(called),
        "median_samples": called[len(called) // 2] if called else None,
        "minutes_saved": saved / minutes if minutes else None,
    }
    line = (
        f"early verdicts: {alarms} of {len(healthy)} healthy deployments (false), "
        f"{len(called)} of {len(critical)} critical ones, after {data['median_samples']} samples (median), "
        f"{_percent(data['minutes_saved'])} of their minutes saved"
    )
    return ["", line], data


def timing(seconds: Sequence[float]) -> Section:
    """Return ms per case."""
    cuts = quantiles(seconds, n=100)
    data = {"median_ms": 1000 * cuts[49], "p95_ms": 1000 * cuts[94], "p99_ms": 1000 * cuts[98]}
    text = ", ".join(f"{name.removesuffix('_ms')} {value:.2f} ms" for name, value in data.items())
    return ["", f"processor time per case: {text}"], data


def ablations(judged: Judged) -> Section:
    """Return the figures of the judge without one of its ideas at a time."""
    lines: list[str] = []
    data: dict[str, Any] = {}
    same = {answer.case.id for answer in judged.answers[next(iter(ABLATIONS))]}
    everything = [answer for answer in judged.answers[ADAPTIVE] if answer.case.id in same]
    for band in ("enough", "one"):
        rows = {"all": ("the judge", in_band(everything, band), "")}
        rows |= {name: (f"- {name}", in_band(judged.answers[name], band), words) for name, words in ABLATIONS.items()}
        more, data[band] = _rows(rows)
        lines += _head(f"without one idea, PRE {band} (every second case)") + more
    return lines, data


def strata(answers: dict[str, tuple[list[Answer], list[Answer]]]) -> Section:
    """Return the figures of each idea in its stratum: with and without it, all PRE sizes together."""
    lines, data = _head("each idea in its own stratum of the third world, with and without it"), {}
    for idea, (with_it, without_it) in answers.items():
        stratum = STRATA[idea][0]
        rows = {"with": (f"{idea}: with", with_it, stratum), "without": (f"{idea}: without", without_it, "")}
        more, found = _rows(rows)
        lines += more
        data[idea] = {"stratum": stratum, **found}
    return lines, data


def peers(judged: Judged) -> Section:
    """Return the figures of all judges on the same cases."""
    lines: list[str] = []
    data: dict[str, dict[str, Any]] = {name: {} for name in (ADAPTIVE, *PEERS)}
    for band in BANDS:
        more, found = _rows({name: (name, in_band(judged.answers[name], band), "") for name in data})
        lines += _head(f"judges compared, PRE {band}") + more
        for name, each in found.items():
            data[name][band] = each
    return lines, data


def floors(bands: dict[str, Any]) -> tuple[list[str], bool]:
    """Return lines about the floors, and whether all are met."""
    lines, met = ["", "floors"], True
    for band, bounds in FLOORS.items():
        for figure, sign, bound in bounds if band in bands else ():
            value = bands[band][figure]
            good = value is not None and (value <= bound if sign == "≤" else value >= bound)
            met &= good
            shown = f"{value:.4f}" if value is not None else "-"
            lines.append(f"  {band:18s} {figure:20s} {shown} {sign} {bound}  {'met' if good else 'NOT MET'}")
    return lines, met


@dataclass(slots=True)
class Runs:
    """Results to report: halves A and B of the first world and the other worlds, of one seed; answers with and without
    each idea; our judge's answers by world and seed."""

    tuned: Judged
    reported: Judged
    others: dict[str, Judged] = field(default_factory=dict)
    by_idea: dict[str, tuple[list[Answer], list[Answer]]] = field(default_factory=dict)
    by_world: dict[str, dict[int, list[Answer]]] = field(default_factory=dict)


def report(runs: Runs, stories: Section, *, cases: int, seed: int) -> tuple[list[str], dict[str, Any]]:
    """Return the whole report: lines to print, and the figures."""
    lines = [f"verdict benchmark: seed {seed}, {cases} cases of the first world (half B reported)"]
    data: dict[str, Any] = {"seed": seed, "cases": cases}
    answers = runs.reported.answers[ADAPTIVE]
    sections = {
        "half_b": _bands("half B, reported", answers),
        "half_a": _bands("half A", runs.tuned.answers[ADAPTIVE]),
        "peers": peers(runs.reported),
        "kinds": by_kind(answers),
        "early": early(runs.reported),
        "time": timing(runs.reported.seconds),
        "ablations": ablations(runs.reported),
        "confusion": (confusion(in_band(answers, "enough")), {}),
    }
    for name, other in runs.others.items():
        sections[f"{name}_world"] = _bands(f"{name} world: other noise, other faults", other.answers[ADAPTIVE])
        sections[f"{name}_world_peers"] = peers(other)
        sections[f"{name}_world_early"] = early(other)
    sections["calibration"] = calibrated("half B", answers)
    for name, other in runs.others.items():
        sections[f"{name}_calibration"] = calibrated(f"{name} world", other.answers[ADAPTIVE])
    sections["seeds"] = seeds(runs.by_world)
    if runs.by_idea:
        sections["strata"] = strata(runs.by_idea)
    sections["stories"] = stories
    for name, (more, found) in sections.items():
        lines += more
        if found:
            data[name] = found
    more, data["floors_met"] = floors(data["seeds"])
    return [*lines, *more], data
