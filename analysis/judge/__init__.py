"""The one entrance to the judges: samples and a policy in, a verdict out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.judge import adaptive
from analysis.judge.fixed import judge_fixed
from analysis.judge.types import Sample, Verdict, Window
from projects.policy import FixedPolicy, Policy


def judge(pre: Sequence[Sample], post: Sequence[Sample], policy: Policy, window: Window) -> Verdict:
    """The verdict on one deployment; the same input always gives the same verdict.

    pre: samples from before it; post: samples from after it, both in any order and possibly empty; window: what was
    planned and what went missing.
    """
    if isinstance(policy, FixedPolicy):
        return judge_fixed(pre, post, policy, window)
    return adaptive.judge_adaptive(pre, post, policy, window)


def judge_early(pre: Sequence[Sample], post_so_far: Sequence[Sample], policy: Policy, window: Window) -> Verdict | None:
    """A rollback that need not wait for the end of the window; None: it has to wait.

    Only the adaptive policy looks early: the fixed one counts shares of a whole window.
    """
    if isinstance(policy, FixedPolicy):
        return None
    return adaptive.judge_early(pre, post_so_far, policy, window)
