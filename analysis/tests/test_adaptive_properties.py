"""Properties that hold for any samples."""

import json
import math
import random
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.judge.adaptive import judge_adaptive, judge_early
from analysis.judge.hints import hints
from analysis.judge.types import OK, ROLLBACK, VERDICTS, WARNING, Miss, Sample, Window
from analysis.recorded import hint_columns, read_recorded, verdict_json
from analysis.tests.adaptive_samples import NOON, judged, make_pre, make_series, make_window
from projects.policy import AdaptivePolicy

finite = st.floats(min_value=0.0, max_value=1.7e308, allow_nan=False, allow_infinity=False)
ratio = st.floats(min_value=0.0, max_value=1.0)
seconds = st.integers(min_value=-(10**6), max_value=10**6)
samples = st.lists(
    st.builds(
        lambda at, rate, latency, ratios, origin: Sample(NOON + timedelta(seconds=at), rate, latency, *ratios, origin),
        seconds,
        finite,
        finite,
        st.tuples(ratio, ratio, ratio),
        st.sampled_from(["pre", "baseline", "history", "post"]),
    ),
    max_size=12,
)
reasons = ("timeout", "refused", "http_5xx", "http_4xx", "expired", "cancelled", "unauthorized", "other", "unheard_of")
misses = st.lists(
    st.builds(Miss, st.none(), st.sampled_from(reasons), st.sampled_from(["pre", "post"]), st.integers(0, 20)),
    max_size=6,
)
ORDER = {OK: 0, WARNING: 1, ROLLBACK: 2}


@given(pre=samples, post=samples, missed=misses, expected=st.integers(0, 20), final=st.booleans())
@settings(max_examples=300)
def test_any_finite_samples_get_a_verdict(
    pre: list[Sample], post: list[Sample], missed: list[Miss], expected: int, final: bool
) -> None:
    window = Window(expected=expected, misses=tuple(missed), final=final, evaluated_at=NOON)
    verdict = judge_adaptive(pre, post, AdaptivePolicy(), window)
    assert verdict.verdict in VERDICTS
    assert 0.0 <= verdict.confidence <= 1.0
    assert 0.0 <= verdict.score <= 1.0
    assert verdict.conclusive or verdict.verdict != OK
    # Whatever was found can be stored, and reads back as it was.
    stored = json.loads(json.dumps({**verdict_json(verdict), "policy": verdict.policy}, allow_nan=False))
    assert stored["summary"]
    assert all(check["sentence"] for check in stored["checks"])
    assert read_recorded(stored).verdict == verdict
    json.dumps([hint_columns(hint) for hint in hints(verdict, pre, post, window)], allow_nan=False)
    for check in verdict.checks:
        for number in (check.observed, check.baseline, check.spread, check.limit, check.share, check.margin):
            assert number is None or math.isfinite(number)
    early = judge_early(pre, post, AdaptivePolicy(), window)
    assert early is None or (early.verdict == ROLLBACK and early.early)


@given(seed=st.integers(0, 1000), pre_count=st.integers(0, 20), post_count=st.integers(0, 12))
@settings(max_examples=60)
def test_the_order_of_samples_makes_no_difference(seed: int, pre_count: int, post_count: int) -> None:
    pre, post = make_pre(pre_count, seed=seed), make_series(post_count, seed=seed, latency_p95=150.0)
    shuffled_pre, shuffled_post = pre[:], post[:]
    random.Random(seed).shuffle(shuffled_pre)
    random.Random(seed + 1).shuffle(shuffled_post)
    assert judged(pre, post) == judged(shuffled_pre, shuffled_post)


@given(factor=st.floats(min_value=0.2, max_value=20.0), seed=st.integers(0, 200))
@settings(max_examples=60)
def test_a_level_common_to_both_sides_is_never_a_rollback(factor: float, seed: int) -> None:
    pre, post = make_pre(seed=seed), make_series(10, seed=seed)
    scaled = [[replace(s, latency_p95=s.latency * factor) for s in side] for side in (pre, post)]
    assert judged(*scaled).verdict != ROLLBACK


@given(seed=st.integers(0, 500), count=st.integers(1, 15))
@settings(max_examples=60)
def test_without_pre_an_ok_is_never_confident(seed: int, count: int) -> None:
    verdict = judged([], make_series(count, seed=seed))
    assert verdict.verdict != OK or verdict.confidence <= 0.7


@given(
    seed=st.integers(0, 300),
    low=st.floats(min_value=0.0, max_value=0.9),
    more=st.floats(min_value=0.0, max_value=0.9),
    count=st.sampled_from([5, 10, 15]),
)
@settings(max_examples=100)
def test_more_errors_never_lower_the_verdict(seed: int, low: float, more: float, count: int) -> None:
    pre = make_pre(seed=seed)
    fewer = judged(pre, make_series(count, seed=seed, noisy=False, error_rate=low), window=make_window(count))
    high = min(1.0, low + more)
    worse = judged(pre, make_series(count, seed=seed, noisy=False, error_rate=high), window=make_window(count))
    assert ORDER[worse.verdict] >= ORDER[fewer.verdict]
    assert worse.score >= fewer.score - 1e-9
