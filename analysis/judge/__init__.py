"""Judge deployments: samples and a policy in, a verdict out. Pure."""

from collections.abc import Sequence

from analysis.judge import adaptive
from analysis.judge.fixed import judge_fixed
from analysis.judge.types import Sample, Verdict, Window
from projects.policy import FixedPolicy, Policy


def judge(pre: Sequence[Sample], post: Sequence[Sample], policy: Policy, window: Window) -> Verdict:
    """Return the verdict on one deployment. Deterministic.

    Args:
        pre, post: samples before and after it, in any order, possibly empty.
        window: planned and missing samples.
    """
    if isinstance(policy, FixedPolicy):
        return judge_fixed(pre, post, policy, window)
    return adaptive.judge_adaptive(pre, post, policy, window)


def judge_early(pre: Sequence[Sample], post_so_far: Sequence[Sample], policy: Policy, window: Window) -> Verdict | None:
    """Return a rollback that can be recommended before the end of the window, else None.

    Only for the adaptive policy: the fixed one counts shares of a whole window.
    """
    if isinstance(policy, FixedPolicy):
        return None
    return adaptive.judge_early(pre, post_so_far, policy, window)
