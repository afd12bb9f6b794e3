"""Judge a situation as the product does, with all that people see of the answer."""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

import analysis.texts  # noqa: F401  (registers the sentences)
from analysis.judge import judge, judge_early
from analysis.judge.hints import hints
from analysis.judge.types import Hint, Verdict
from analysis.texts.hints import facts_of
from benchmarks.verdicts.situations import FINISH, Situation
from explain.facts import Fact
from explain.rendering import render


@dataclass(frozen=True)
class Outcome:
    """The answer to a situation. early: minute of the first early verdict, if any."""

    verdict: Verdict
    hints: tuple[Hint, ...]
    early: int | None = None

    @cached_property
    def text(self) -> str:
        """Return all sentences of the answer in English, one per line."""
        verdict = self.verdict
        facts: list[Fact] = [verdict.summary, *(check.fact for check in verdict.checks)]
        facts += [*verdict.health.reasons, *verdict.basis.doubts]
        for hint in self.hints:
            words = facts_of(hint.text_key, hint.params, evidence=hint.evidence, roll_back=hint.roll_back)
            facts += [words.title, words.cause]
        return "\n".join(map(render, facts))


def outcome_of(situation: Situation) -> Outcome:
    """Return the verdict at the end of the window, its hints, and when an early verdict came before."""
    pre, post, window, policy = situation.pre, situation.post, situation.window, situation.policy
    verdict = judge(pre, post, policy, window)
    early = next((minute for minute in range(1, window.expected) if _early(situation, minute)), None)
    return Outcome(verdict, tuple(hints(verdict, pre, post, window)), early)


def _early(situation: Situation, minute: int) -> bool:
    """Return whether an early verdict comes at this minute of the window."""
    now, window = FINISH + timedelta(minutes=minute), situation.window
    misses = tuple(miss for miss in window.misses if miss.scheduled_at is None or miss.scheduled_at < now)
    running = replace(window, final=False, evaluated_at=now, misses=misses)
    post = [sample for sample in situation.post if sample.collected_at < now]
    return judge_early(situation.pre, post, situation.policy, running) is not None
