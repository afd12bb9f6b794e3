from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from analysis.judge import judge, judge_early
from analysis.judge.hints import hints
from analysis.judge.hints.rules import RULES, custom_metrics
from analysis.judge.quality import assess
from analysis.judge.types import (
    OK,
    ROLLBACK,
    WARNING,
    Check,
    Hint,
    Miss,
    Quality,
    QualityIssue,
    Sample,
    Verdict,
    Window,
)
from analysis.recorded import hint_columns
from analysis.tests.judgements import PER_CENT, judgements, judgements_of_samples
from analysis.tests.samples import FINISH, make_miss, make_post, make_pre, make_sample, make_window
from analysis.texts.hints import HINTS, ROLL_BACK_FIRST, facts_of
from explain.facts import Fact
from projects.policy import policy_from_dict

SIGNALS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("fixed", {}, []),
    ("fixed", {"error_rate": 0.2, "latency_p95": 900.0}, ["service_degradation error_rate critical"]),
    ("fixed", {"cpu_usage": 0.95, "latency_p95": 900.0}, ["compute_saturation cpu_usage warning"]),
    ("fixed", {"error_rate": 0.2, "requests_per_sec": 9.0}, ["partial_outage requests_per_sec critical"]),
    ("fixed", {"error_rate": 0.2}, ["persistent_breach error_rate critical"]),
    ("fixed", {"requests_per_sec": 9.0}, ["persistent_breach requests_per_sec critical"]),
    ("fixed", {"error_rate": [0.2, 0, 0, 0.1, 0]}, ["high_error_rate error_rate critical"]),
    ("fixed", {"requests_per_sec": [50, 50, 9, 9, 9]}, ["traffic_below_baseline requests_per_sec critical"]),
    ("fixed", {"latency_p95": 900.0}, ["high_latency latency_p95 warning"]),
    ("fixed", {"latency_p95": 60.0}, ["latency_improved latency_p95 info"]),
    ("fixed", {"cpu_usage": 0.95}, ["cpu_spike cpu_usage warning"]),
    ("fixed", {"memory_usage": 0.85}, ["memory_above_limit memory_usage warning"]),
    ("fixed", {"memory_usage": 0.75}, ["memory_near_limit memory_usage warning"]),
    ("fixed", {"memory_usage": 0.72}, ["memory_near_limit memory_usage info"]),
    (
        "fixed",
        {"error_rate": 0.2, "latency_p95": 900.0, "cpu_usage": 0.95},
        ["service_degradation error_rate critical", "compute_saturation cpu_usage warning"],
    ),
    (
        "fixed",
        {"error_rate": 0.2, "memory_usage": 0.9},
        ["persistent_breach error_rate critical", "memory_above_limit memory_usage warning"],
    ),
    (
        "fixed",
        {"error_rate": 0.2, "latency_p95": 900.0, "requests_per_sec": 9.0},
        ["service_degradation error_rate critical", "partial_outage requests_per_sec critical"],
    ),
    ("adaptive", {}, []),
    ("adaptive", {"latency_p95": 240.0}, ["high_latency latency_p95 warning"]),
    ("adaptive", {"latency_p95": 900.0}, ["persistent_breach latency_p95 critical"]),
    ("adaptive", {"error_rate": 0.02}, ["high_error_rate error_rate warning"]),
    ("adaptive", {"error_rate": 0.3}, ["persistent_breach error_rate critical"]),
    ("adaptive", {"error_rate": 0.1, "latency_p95": 900.0}, ["service_degradation error_rate critical"]),
    ("adaptive", {"cpu_usage": 0.95, "latency_p95": 240.0}, ["compute_saturation cpu_usage warning"]),
    ("adaptive", {"error_rate": 0.2, "requests_per_sec": 9.0}, ["partial_outage requests_per_sec critical"]),
    ("adaptive", {"requests_per_sec": 1.0}, ["persistent_breach requests_per_sec critical"]),
    ("adaptive", {"memory_usage": [0.5, 0.54, 0.58, 0.62, 0.66]}, ["memory_growth memory_usage warning"]),
    ("adaptive", {"memory_usage": 0.75}, ["memory_growth memory_usage warning"]),
    ("adaptive", {"latency_p95": 40.0}, ["latency_improved latency_p95 info"]),
]


def judged(
    post: list[Sample], pre: list[Sample] | None = None, policy: dict[str, Any] | None = None, **window: Any
) -> tuple[Verdict, list[Hint]]:
    """Judge with the adaptive policy unless another one is given."""
    pre = make_pre(15) if pre is None else pre
    seen = make_window(**window)
    verdict = judge(pre, post, policy_from_dict(policy or {}), seen)
    return verdict, hints(verdict, pre, post, seen)


def hints_of(
    post: list[Sample], pre: list[Sample] | None = None, policy: dict[str, Any] | None = None, **window: Any
) -> list[Hint]:
    """The hints under fixed limits; policy: changes of their defaults."""
    return judged(post, make_pre(3) if pre is None else pre, {"kind": "fixed", **(policy or {})}, **window)[1]


def codes(found: list[Hint]) -> list[str]:
    return [hint.code for hint in found]


@pytest.mark.parametrize(("kind", "levels", "expected"), SIGNALS, ids=str)
def test_the_signals_name_the_hints(kind: str, levels: dict[str, Any], expected: list[str]) -> None:
    _, found = judged(make_post(**levels), make_pre(3 if kind == "fixed" else 15), {"kind": kind})
    assert [f"{hint.code} {hint.metric} {hint.severity}" for hint in found] == expected


@pytest.mark.no_cover
def test_every_rule_can_be_reached_by_real_samples() -> None:
    reached = {hint.text_key for _verdict, found in judgements_of_samples() for hint in found}
    assert reached == set(HINTS) - {"critical_finding"}
    assert len({text_key.partition(".")[0] for text_key in reached}) == len([*RULES, custom_metrics])


@pytest.mark.parametrize("text_key", HINTS)
def test_every_text_is_complete_and_gives_three_to_five_actions(text_key: str) -> None:
    for roll_back in (False, True):
        assert 3 <= len(facts_of(text_key, {}, evidence=(), roll_back=roll_back).actions) <= 5
    assert all(template for _name, template in HINTS[text_key].parts())


@pytest.mark.no_cover
def test_no_action_makes_a_rollback_depend_on_anything_where_the_verdict_recommends_it() -> None:
    seen = set()
    for verdict, found in judgements():
        recommends = verdict.verdict == ROLLBACK
        for hint in found:
            if last_resort := HINTS[hint.text_key].last_resort:
                actions = hint_columns(hint)["actions"]
                assert (actions[0] == ROLL_BACK_FIRST) is recommends
                assert any(action.startswith(last_resort[:12]) for action in actions) is not recommends
                seen.add(recommends)
    assert seen == {True, False}


def test_a_hint_names_the_numbers_it_rests_on() -> None:
    (hint,) = hints_of(make_post(latency_p95=[342, 342, 342, 342, 100]))
    assert hint.observed == pytest.approx(293.6)
    assert hint.threshold == 270.0
    assert hint_columns(hint)["title"] == "p95 latency over 270 ms in 4 of 5 samples"
    assert "before 120 ms" in hint_columns(hint)["cause"]
    assert "4 of 5 samples" in hint_columns(hint)["evidence"][0]
    assert hint.numbers["latency_p95"]["share"] == 0.8


def test_memory_hints_speak_of_the_limit_itself() -> None:
    (hint,) = hints_of(make_post(memory_usage=0.75))
    assert hint.threshold == 0.80
    assert hint_columns(hint)["title"] == "Memory close to its limit: 75.0 % of 80.0 %"


def test_one_sample_above_the_memory_limit_among_many_near_it_is_not_yet_above() -> None:
    post = make_post(10, memory_usage=[0.75] * 9 + [0.81])
    assert codes(hints_of(post, expected=10, evaluated_at=FINISH + timedelta(seconds=545))) == ["memory_near_limit"]


def test_confidence_grows_with_the_deviation() -> None:
    confidences = [hints_of(make_post(latency_p95=value))[0].confidence for value in (280.0, 400.0, 900.0, 5000.0)]
    assert confidences == sorted(set(confidences))


def test_confidence_grows_with_the_number_of_signals() -> None:
    (single,) = hints_of(make_post(latency_p95=540.0))
    (both,) = hints_of(make_post(latency_p95=540.0, cpu_usage=0.99), policy={"cpu_usage": {"limit": 0.55}})
    assert both.code == "compute_saturation"
    assert both.confidence > single.confidence


def test_poor_data_make_a_hint_less_sure() -> None:
    good = hints_of(make_post(3, latency_p95=900.0), expected=3)
    poor = hints_of(make_post(3, latency_p95=900.0), expected=5)
    assert poor[0].code == good[0].code == "high_latency"
    assert poor[0].confidence < good[0].confidence


def test_faster_failures_are_no_improvement() -> None:
    assert "latency_improved" not in codes(hints_of(make_post(latency_p95=5.0, error_rate=0.9)))


@pytest.mark.parametrize(("before", "after"), [(120.0, 100.0), (12.0, 4.0), (0.0, 0.0)])
def test_small_gains_are_not_announced(before: float, after: float) -> None:
    assert hints_of(make_post(latency_p95=after), make_pre(3, latency_p95=before)) == []


def test_without_post_the_hint_gives_the_reasons_of_the_misses() -> None:
    misses = tuple(make_miss(index, "refused") for index in range(5))
    (hint,) = hints_of([], misses=misses)
    assert (hint.code, hint.severity, hint.observed, hint.threshold) == ("missing_data", "warning", 0.0, 5.0)
    assert "connection refused (5)" in hint_columns(hint)["cause"]


def test_one_lost_sample_of_a_sound_window_is_only_information() -> None:
    post = [sample for index, sample in enumerate(make_post()) if index != 4]
    (hint,) = hints_of(post, misses=(make_miss(4, "timeout"),))
    assert (hint.code, hint.severity) == ("missing_data", "info")
    assert hint_columns(hint)["title"] == "4 of 5 samples after the deployment"


def test_a_gap_that_missing_samples_explain_is_said_once() -> None:
    post = [sample for index, sample in enumerate(make_post()) if index != 2]
    assert codes(hints_of(post, misses=(make_miss(2, "timeout"),))) == ["missing_data"]


def test_samples_of_the_wrong_order_are_doubtful_data() -> None:
    (hint,) = hints_of(make_post(), [make_sample(90, origin="pre")])
    assert (hint.code, hint.severity) == ("poor_data", "warning")
    assert "2 of 5" in hint_columns(hint)["cause"]


def test_errors_without_pre_warn_but_do_not_call_for_a_rollback() -> None:
    found = hints_of(make_post(error_rate=0.5), pre=[])
    assert codes(found) == ["high_error_rate", "missing_data"]
    assert {hint.severity for hint in found} == {"warning"}


def test_a_metric_that_the_policy_calls_critical_gets_a_critical_hint() -> None:
    for metric, level in [("latency_p95", 900.0), ("cpu_usage", 0.95), ("memory_usage", 0.95)]:
        found = hints_of(make_post(5, **{metric: level}), policy={"critical_metrics": [metric]})
        assert found[0].severity == "critical"
        assert {hint.metric for hint in found} == {metric}


def test_the_most_severe_hint_comes_first() -> None:
    found = hints_of(make_post(error_rate=[0.2, 0, 0, 0, 0], cpu_usage=0.95, memory_usage=0.72))
    assert [hint.severity for hint in found] == ["critical", "warning", "info"]


# --- the adaptive judge: the same rules, other lines ---------------------------------------------------------------


def test_a_service_that_answers_no_more_is_told_as_such_and_not_as_a_loss_of_traffic() -> None:
    verdict, found = judged(make_post(1), misses=tuple(make_miss(index, "refused") for index in range(1, 5)))
    assert verdict.verdict == "rollback_recommended"
    assert [(hint.code, hint.severity) for hint in found] == [("service_unreachable", "critical")]
    assert "connection refused (4)" in hint_columns(found[0])["cause"]


def test_an_early_verdict_on_a_dead_endpoint_tells_no_traffic() -> None:
    pre, misses = make_pre(15), tuple(make_miss(index, "refused") for index in range(7))
    window = make_window(expected=10, final=False, misses=misses)
    verdict = judge_early(pre, [], policy_from_dict({}), window)
    assert verdict is not None
    [check] = [check for check in verdict.checks if check.failed]
    assert (check.observed, check.limit, check.outcome) == (None, None, "critical")
    [hint] = hints(verdict, pre, [], window)
    assert (hint.code, hint.severity) == ("service_unreachable", "critical")
    assert hint_columns(hint)["title"] == "The service stopped answering: 5 of 5 collections failed"


@pytest.mark.parametrize("reason", ["invalid_json", "invalid_payload", "http_4xx", "redirect", "too_large"])
def test_an_endpoint_that_answers_something_else_did_not_stop_answering(reason: str) -> None:
    verdict, found = judged([], misses=tuple(make_miss(index, reason) for index in range(5)))
    assert verdict.verdict == "warning"
    assert [(hint.code, hint.severity) for hint in found] == [("service_unreachable", "warning")]
    columns = hint_columns(found[0])
    assert columns["title"] == "The endpoint answers without metrics: 4 of 4 collections failed"
    assert "Before the deployment" not in columns["cause"]


def test_a_service_that_lost_its_traffic_is_not_called_slow() -> None:
    verdict, _ = judged(make_post(requests_per_sec=1.0))
    assert verdict.failed_metrics == ("requests_per_sec",)


def test_hints_count_the_samples_that_the_check_counted() -> None:
    verdict, [hint] = judged(make_post(error_rate=0.3))
    [check] = [check for check in verdict.checks if check.metric == "error_rate"]
    assert f"{check.details['over']} of {check.details['samples']} samples" in hint_columns(hint)["cause"]


# --- another judge, with checks that the fixed one does not make ---------------------------------------------------


def verdict_by_another_judge(verdict: Any, *checks: Check) -> Verdict:
    return Verdict(
        verdict=verdict,
        confidence=0.9,
        conclusive=True,
        score=0.9,
        summary=Fact("The endpoint stopped answering right after the deployment."),
        checks=checks,
        quality=assess(make_pre(), make_post(), make_window()),
        policy={"kind": "other"},
    )


def given_hints(verdict: Verdict) -> list[Hint]:
    return hints(verdict, make_pre(), make_post(), Window())


@pytest.mark.parametrize("others", [(), (make_miss(4, "timeout"),)])
def test_refused_per_cent_is_named_as_such_and_as_no_outage(others: tuple[Miss, ...]) -> None:
    misses = tuple(make_miss(index, "invalid_payload", detail=PER_CENT) for index in range(4))
    window = make_window(misses=(*misses, *others))
    verdict = judge(make_pre(5), [], policy_from_dict({}), window)
    found = {hint.code: hint for hint in hints(verdict, make_pre(5), [], window)}
    columns = hint_columns(found["looks_like_other_unit"])
    assert "cpu_usage is 35, allowed 0..1: this looks like a percentage" in columns["cause"]
    assert len(columns["evidence"]) == 1
    assert "one click" in columns["actions"][0]
    assert ("service_unreachable" in found) is bool(others)


@pytest.mark.parametrize("code", ["service_unreachable", "missing_data"])
def test_a_hint_about_missing_samples_tells_what_was_answered_last(code: str) -> None:
    answered = [Fact("http_4xx", {"status": status, "url": "http://x/m"}) for status in (410, 404, 410)]
    misses = tuple(make_miss(index, "http_4xx", detail=answered[index]) for index in (1, 0))
    window = make_window(misses=(*misses, make_miss(2, "timeout"), Miss(None, "http_4xx", "pre", 9, answered[0])))
    verdict = judge(make_pre(5), [], policy_from_dict({}), window)
    if code == "missing_data":
        verdict = replace(verdict, checks=())
    found = {hint.code: hint for hint in hints(verdict, make_pre(5), [], window)}
    assert hint_columns(found[code])["evidence"][-1] == "HTTP 404 from http://x/m"


def test_stored_samples_that_look_like_seconds_are_named_and_are_no_poor_data() -> None:
    verdict = verdict_by_another_judge(WARNING)
    issue = QualityIssue("looks_like_seconds", Fact("samples", {"n": 5}), 0.2)
    verdict = replace(verdict, quality=Quality(0.8, (issue,)))
    (hint,) = given_hints(verdict)
    assert (hint.code, hint_columns(hint)["evidence"]) == ("looks_like_other_unit", ["5 samples"])


def test_a_rollback_for_an_unknown_reason_shows_the_judges_own_words() -> None:
    (hint,) = given_hints(verdict_by_another_judge(ROLLBACK))
    assert (hint.code, hint.severity) == ("critical_finding", "critical")
    assert hint_columns(hint)["cause"] == "The endpoint stopped answering right after the deployment."
    check = Check(metric="endpoint", rule="silence", outcome="critical", code="no answer in 5 of 5 {tries}")
    (hint,) = given_hints(verdict_by_another_judge(ROLLBACK, check))
    assert (hint.metric, hint_columns(hint)["cause"]) == ("endpoint", "no answer in 5 of 5 {tries}")


def test_a_check_with_nothing_but_its_outcome_still_makes_a_hint() -> None:
    check = Check(metric="memory_usage", rule="leak", outcome="critical", code="memory climbs by 2 % per minute")
    (hint,) = given_hints(verdict_by_another_judge(ROLLBACK, check))
    assert (hint.code, hint.severity, hint.observed) == ("memory_above_limit", "critical", None)
    assert hint_columns(hint)["evidence"] == ["memory climbs by 2 % per minute"]


def test_the_gravest_of_several_checks_of_a_metric_leads() -> None:
    steady = Check(metric="latency_p95", rule="whole", outcome="ok", code="", observed=1.0, limit=2.0)
    late = Check(
        metric="latency_p95", rule="tail", outcome="warning", code="", observed=9.0, limit=2.0, share=0.4, margin=4.5
    )
    for checks in [(steady, late), (late, steady)]:
        (hint,) = given_hints(verdict_by_another_judge(WARNING, *checks))
        assert (hint.code, hint.observed) == ("high_latency", 9.0)


def test_an_ok_never_comes_with_a_critical_hint_whatever_a_judge_reports() -> None:
    check = Check(metric="error_rate", rule="odd", outcome="critical", code="", observed=0.5, limit=0.1, margin=5.0)
    assert {hint.severity for hint in given_hints(verdict_by_another_judge(OK, check))} == {"info"}


def test_saturation_without_a_level_before_says_nothing_of_what_changed() -> None:
    post = make_post(cpu_usage=0.95, latency_p95=900.0)
    texts = {}
    for name, pre in (("known", make_pre(3)), ("unknown", [])):
        [hint] = [hint for hint in hints_of(post, pre) if hint.code == "compute_saturation"]
        columns = hint_columns(hint)
        texts[name] = " ".join([columns["cause"], columns["impact"], *columns["actions"]])
    assert "runs with less CPU" in texts["known"]
    assert "is not known" in texts["unknown"]
    for word in ("less CPU", "more than before", "(before:", "with before", "unknown"):
        assert word not in texts["unknown"]
