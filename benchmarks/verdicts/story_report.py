"""Judge stories on all cores, and report the share of acceptable answers of each."""

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from analysis.judge.types import OK, ROLLBACK, WARNING
from benchmarks.verdicts.outcome import Outcome, outcome_of
from benchmarks.verdicts.stories import NOT_CONCLUSIVE, STORIES, Answer, Story

GOAL = 0.95
SHOWN: dict[Answer, str] = {OK: "ok", WARNING: "warning", ROLLBACK: "rollback", NOT_CONCLUSIVE: "no conclusion"}


@dataclass(slots=True)
class Told:
    """Results of a story: number of cases, how often each answer came, and per fault its cases' numbers."""

    cases: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    wrong: set[int] = field(default_factory=set)
    faults: dict[str, list[int]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Return the share of acceptable answers, 0..1."""
        return 1.0 - len(self.wrong) / self.cases

    @property
    def typical_fault(self) -> str:
        """Return the commonest fault, how often it came, and a case that has it."""
        if not self.faults:
            return ""
        fault, numbers = max(self.faults.items(), key=lambda item: len(item[1]))
        return f"{fault} ({len(numbers)}×, as in case {numbers[0]})"


def answer_of(outcome: Outcome) -> Answer:
    """Return the verdict, or that there is no conclusion. A rollback is one, however it is qualified."""
    verdict = outcome.verdict
    return verdict.verdict if verdict.conclusive or verdict.verdict == ROLLBACK else NOT_CONCLUSIVE


def faults(story: Story, seed: int, number: int) -> tuple[Answer, list[str]]:
    """Return the answer to a case of a story, and what is not acceptable about it."""
    situation = story.situation(seed, number)
    outcome = outcome_of(situation)
    answer = answer_of(outcome)
    found: list[str] = [] if answer in story.answers else [answer]
    if outcome.early is not None and not (story.early or ROLLBACK in story.answers):
        found.append("early rollback")
    if situation.twin is not None and (other := answer_of(outcome_of(situation.twin))) != answer:
        found.append(f"{answer}, but {other} with other evidence")
    return answer, found + [fault for demand in story.demands if (fault := demand(outcome))]


def tell(name: str, *, seed: int, cases: int) -> Told:
    """Judge so many cases of a story."""
    told = Told(cases)
    for number in range(cases):
        answer, found = faults(STORIES[name], seed, number)
        told.answers[answer] += 1
        if found:
            told.wrong.add(number)
        for fault in found:
            told.faults.setdefault(fault, []).append(number)
    return told


def tell_all(*, seed: int, cases: int, names: Iterable[str] = STORIES) -> dict[str, Told]:
    """Judge so many cases of each story."""
    with ProcessPoolExecutor() as pool:
        return dict(zip(names, pool.map(partial(tell, seed=seed, cases=cases), names), strict=True))


def report_stories(told: Mapping[str, Told]) -> tuple[list[str], dict[str, Any]]:
    """Return the table of stories, those that were reported first, and its figures."""
    lines = ["", f"fourth world: stories, share of acceptable answers (goal {GOAL:.0%} each)"]
    data: dict[str, Any] = {}
    for reported in (True, False):
        lines += ["", "reported as wrong:" if reported else "of the same kinds:", ""]
        lines += ["| story | what happens | acceptable | share | typical fault |", "|---|---|---|---:|---|"]
        for name, result in told.items():
            story = STORIES[name]
            if story.reported == reported:
                acceptable = ", ".join(SHOWN[answer] for answer in story.answers)
                cells = (f"`{name}`", story.title, acceptable, f"{100 * result.share:.1f} %", result.typical_fault)
                lines.append(f"| {' | '.join(cells)} |")
                data[name] = {
                    "reported": reported,
                    "cases": result.cases,
                    "acceptable": result.share,
                    "answers": dict(result.answers),
                    "typical_fault": result.typical_fault,
                }
    met = sum(result.share >= GOAL for result in told.values())
    lines += ["", f"{met} of {len(told)} stories reach {GOAL:.0%}"]
    return lines, {"goal": GOAL, "reached": met, "stories": data}
