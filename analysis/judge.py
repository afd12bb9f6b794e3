"""The one entrance to the judges: samples and a policy in, a verdict out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from analysis.fixed import judge_fixed
from analysis.policy import Policy
from analysis.types import Sample, Verdict, Window

# By Policy.kind. Each takes (pre, post, policy of its kind, window).
_JUDGES: dict[str, Callable[[Sequence[Sample], Sequence[Sample], Policy, Window], Verdict]] = {
    "fixed": judge_fixed,
}


def judge(pre: Sequence[Sample], post: Sequence[Sample], policy: Policy, window: Window) -> Verdict:
    """The verdict on one deployment; the same input always gives the same verdict.

    pre: samples from before it; post: samples from after it, both in any order and possibly empty; window: what was
    planned and what went missing. Raises KeyError for a kind of policy that has no judge.
    """
    return _JUDGES[policy.kind](pre, post, policy, window)
