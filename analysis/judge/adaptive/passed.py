"""Say why a check passed although most samples are beyond its limit. No decisions."""

from collections.abc import Sequence

from analysis.judge.adaptive.levels import Contrast
from explain.facts import Fact

# A level lies in the middle of its samples: more than this share beyond the limit needs a reason.
TOLERATED = 0.5


def with_reason(line: Fact, result: Contrast, *, required: float, guard: float, share: float, passed: bool) -> Fact:
    """Return the fact of the threshold, with the reason why a check passed whose samples are mostly beyond its limit.

    share: of the samples beyond the limit; required: least effect of a finding; guard: in standard errors.
    """
    if not passed or share <= TOLERATED:
        return line
    return Fact("passed_because", {"line": line, "why": Fact(_why(result, required, guard))})


def _why(result: Contrast, required: float, guard: float) -> str:
    if _share_beyond(result.effects, required) <= TOLERATED:
        return "passed.load"
    if result.last < required:
        return "passed.over_again"
    if result.whole < guard * result.whole_error:
        return "passed.scatter"
    return "passed.single_samples"


def _share_beyond(effects: Sequence[float], required: float) -> float:
    return sum(effect >= required for effect in effects) / len(effects)
