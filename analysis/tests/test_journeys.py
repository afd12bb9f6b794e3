"""Journeys, judged by how often something was not as expected before and since."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from analysis.judge import judge, judge_early
from analysis.judge.hints import hints
from analysis.judge.types import Expectation, Sample, Verdict, Window
from analysis.recorded import expectation_json, read_expectation
from analysis.tests.samples import make_post, make_pre, make_window
from explain.facts import Fact
from explain.rendering import render
from projects.policy import Policy, policy_from_dict

ASKS = 5
TEXT = Expectation(
    "text", "asked", "answered", Fact("expected.text", {"step": "POST /login", "text": "Welcome"}), ("answer",)
)
RELEASE = Expectation(
    "version", "asked", "answered", Fact("expected.version", {"step": "GET /"}), ("answer",), after_only=True
)
ADAPTIVE = policy_from_dict({})
NOT_MEASURED = dict.fromkeys(("requests_per_sec", "cpu_usage", "memory_usage"))


def asked(samples: Sequence[Sample], failed: Sequence[int], *, asks: int = ASKS, name: str = "text") -> list[Sample]:
    """Return samples of journeys; failed: how many of them failed, by sample."""
    return [
        replace(
            sample,
            error_rate=count / asks,
            custom={"asked": asks, "answered": 200, "answer": 0, name: count, "error_rate_asks": asks},
            **NOT_MEASURED,  # type: ignore[arg-type]  # metrics, all of them None
        )
        for sample, count in zip(samples, failed, strict=True)
    ]


def judged(
    before: Sequence[int], after: Sequence[int], *, asks_before: int = ASKS, policy: Policy = ADAPTIVE
) -> Verdict:
    pre = asked(make_pre(len(before)), before, asks=asks_before)
    return judge(pre, asked(make_post(len(after)), after), policy, window_of(len(after)))


def window_of(count: int, *expectations: Expectation) -> Window:
    return replace(make_window(expected=count), expectations=expectations or (TEXT,))


def sentences(verdict: Verdict) -> list[str]:
    return [render(check.fact) for check in verdict.checks if check.metric == "error_rate"]


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([0] * 30, [5] * 5, "rollback_recommended"),
        ([0] * 30, [0] * 5, "ok"),
        # Every third answer, as of one of three instances.
        ([0] * 30, [2, 1, 2, 2, 1], "rollback_recommended"),
        # It failed before, as often.
        ([5] * 30, [5] * 5, "ok"),
        ([1, 0, 2, 1, 0, 1] * 5, [1, 2, 1, 0, 2], "ok"),
        # Once of 25 times; one bad minute; a cold start.
        ([0] * 30, [0, 0, 1, 0, 0], "ok"),
        ([0] * 30, [0, 0, 5, 0, 0], "ok"),
        ([0] * 30, [5, 0, 0, 0, 0], "ok"),
        # Minutes that fail as a whole came before, too.
        ([5, 0, 0, 0, 0, 0, 0, 0, 0, 0] * 3, [0, 5, 0, 0, 5], "ok"),
        # It begins late.
        ([0] * 30, [0, 0, 0, 5, 5], "rollback_recommended"),
        # Failed half the time, and fails always.
        ([2, 3] * 15, [5] * 5, "rollback_recommended"),
    ],
)
def test_what_failed_before_is_not_blamed_and_chance_neither(before: list[int], after: list[int], verdict: str) -> None:
    found = judged(before, after)
    assert found.verdict == verdict
    assert found.conclusive


def test_a_first_deployment_is_compared_with_what_was_asked_at_its_trigger() -> None:
    pre = asked(make_pre(1), [0], asks=20)
    assert judge(pre, asked(make_post(5), [5] * 5), ADAPTIVE, window_of(5)).verdict == "rollback_recommended"
    early = judge_early(pre, asked(make_post(4), [5] * 4), ADAPTIVE, replace(window_of(5), final=False))
    assert early is not None
    assert early.early


def test_the_step_what_is_missing_and_the_counts_are_named() -> None:
    broken = "POST /login answers 200, but “Welcome” is missing since the deployment: 20 of 20, before 0 of 150"
    verdict = judged([0] * 30, [5] * 5)
    assert sentences(verdict) == ["20 of 20 journeys failed, before 0 of 150", broken]
    assert broken in render(verdict.summary)
    assert verdict.failed_metrics == ("error_rate",)
    [hint, *others] = hints(verdict, (), (), window_of(5))
    assert (hint.code, hint.severity) == ("journey_broken", "critical")
    assert [render(fact) for fact in hint.evidence] == [broken]
    assert not {"high_error_rate", "persistent_breach"} & {other.code for other in others}
    as_before = judged([5] * 30, [5] * 5)
    assert "so that is not its effect" in sentences(as_before)[1]
    assert as_before.health.healthy == "no"


def test_a_policy_without_errors_among_its_critical_metrics_only_warns() -> None:
    for kind in ("adaptive", "fixed"):
        lenient = policy_from_dict({"kind": kind, "critical_metrics": ["latency_p95"]})
        assert judged([0] * 30, [5] * 5, policy=lenient).verdict == "warning"
    assert judged([0] * 30, [5] * 5, policy=policy_from_dict({"kind": "fixed"})).verdict == "rollback_recommended"


def test_without_a_sample_before_a_failing_journey_is_a_warning() -> None:
    verdict = judged([], [5] * 5)
    assert verdict.verdict == "warning"
    assert "is not known" in sentences(verdict)[1]
    assert judged([], [0] * 5).verdict == "ok"


def test_a_new_version_that_does_not_answer_is_a_warning() -> None:
    pre = asked(make_pre(30), [0] * 30)
    for counts, verdict in (([5] * 5, "warning"), ([5, 3, 1, 0, 0], "ok"), ([0] * 5, "ok"), ([2] * 5, "warning")):
        post = [
            replace(sample, error_rate=0.0, custom={**sample.custom, "error_rate_asks": ASKS})
            for sample in asked(make_post(5), counts, name="version")
        ]
        found = judge(pre, post, ADAPTIVE, window_of(5, RELEASE))
        assert found.verdict == verdict, counts
        assert any("not from the new version" in text for text in sentences(found)) == (verdict == "warning")


def test_pages_that_fail_by_chance_as_often_as_before_give_no_alarm() -> None:
    random, alarms = Random(20), 0
    for number in range(300):
        rate, asks_before = (0.02, 0.05, 0.1, 0.2, 0.5)[number % 5], (ASKS, 20)[number % 2]
        places = 1 if asks_before == 20 else 30
        before = [sum(random.random() < rate for _ in range(asks_before)) for _ in range(places)]
        after = [sum(random.random() < rate for _ in range(ASKS)) for _ in range(5)]
        alarms += judged(before, after, asks_before=asks_before).verdict != "ok"
    assert alarms <= 4


def test_a_journey_that_fails_once_is_no_unhealthy_service() -> None:
    assert judged([0] * 30, [0, 0, 0, 1, 0]).health.healthy == "yes"
    assert judged([0] * 30, [5] * 5).health.healthy == "no"


def test_expectations_are_read_back_as_they_were_stored() -> None:
    assert [read_expectation(expectation_json(one)) for one in (TEXT, RELEASE)] == [TEXT, RELEASE]
