"""Evidence on the page of a verdict: early or final, compared samples, policy; marking it right or wrong."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Membership, Role, User
from analysis.judge.types import UNREACHABLE
from analysis.models import Feedback, VerdictName
from analysis.tests.factories import judge_now
from dashboard.tests import scenes
from dashboard.tests.pages import HOSTILE, LIST, address, as_role, elements, figure, has, queries_of, shows, words
from deployments.models import Deployment, State
from projects.baselines import exclude_window
from projects.models import Environment
from projects.services import set_policy
from tests.factories import make_deployment, make_environment, make_sample, make_samples, make_verdict

pytestmark = pytest.mark.django_db


def test_an_early_verdict_says_so_and_goes_on_until_its_window_has_ended(browser_of, environment):
    deployment = scenes.called_out_early(environment)
    page = browser_of.get(address(deployment))
    shows(page, "Early : after 4 of 5 samples", "The window is still open")
    assert 'data-live="running"' in page.content.decode()
    assert "early 4 of 5 samples" in words(browser_of.get(LIST))

    ended = browser_of.get(address(scenes.end_window(deployment)))
    shows(ended, "Early : after 4 of 5 samples", "At the end of the window Rollback recommended")
    deployment = Deployment.objects.get(pk=deployment.pk)
    shows(ended, deployment.verdict.final["summary"], "Checks of the early verdict", "Checks at the end of the window")
    assert 'data-live="done"' in ended.content.decode()


@pytest.mark.parametrize(
    ("scene", "finding"),
    [
        (lambda one: scenes.judged(one, error_rate=0.25), "25 % of requests fail, was 0.2 %."),
        (scenes.judged, "No regression found."),
        (scenes.unreachable, "The metrics endpoint stopped answering after the deployment."),
        (
            scenes.with_journeys,
            "GET / answers 200, but “Welcome” is missing since the deployment: 20 of 20, before 0 of 40.",
        ),
    ],
)
def test_the_headline_is_the_finding(browser_of, environment, scene, finding):
    assert words(browser_of.get(address(scene(environment))), "#finding") == finding


def test_a_rollback_is_compared_with_the_time_before_the_deployment_that_it_ends(browser_of, environment):
    begins = [timezone.now() - timedelta(hours=hours) for hours in (5, 3, 1)]
    good, bad, rollback = (
        make_deployment(environment=environment, state=State.FINISHED, started_at=begin, kind=kind)
        for begin, kind in zip(begins, ("deployment", "deployment", "rollback"), strict=True)
    )
    make_verdict(good)
    broken = {"error_rate": 0.4, "latency_p95": 900.0}
    make_samples(bad, **broken)
    make_sample(rollback, phase="pre", collected_at=begins[2], **broken)
    for index in range(5):
        make_sample(rollback, sequence_index=index + 1)
    make_verdict(bad, verdict=VerdictName.ROLLBACK_RECOMMENDED)
    shows(browser_of.get(address(rollback)), "Rollback")
    judged = judge_now(rollback)
    assert judged.verdict.verdict == "ok"
    answer = browser_of.get(address(rollback))
    shows(answer, "A rollback: the service before #2, which replaced the last good deployment")
    shows(answer, "taken since #2, which replaced the last good deployment")


def test_a_final_word_that_differs_leaves_the_early_verdict_on_record(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    final = {"verdict": "ok", "confidence": 0.7, "conclusive": False, "summary": "It calmed down.", "checks": []}
    make_verdict(deployment, verdict=VerdictName.ROLLBACK_RECOMMENDED, early=True, final=final)
    answer = browser_of.get(address(deployment))
    text = words(answer)
    assert 'data-live-announce="Rollback recommended · At the end of the window: OK"' in answer.content.decode()
    assert "Rollback recommended" in text
    assert "At the end of the window OK moderate confidence, 70 %, not conclusive" in text
    assert "It calmed down. The early verdict stays on record." in text


def test_health_and_basis_stand_beside_the_verdict(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    basis = {"requests": 12345.6, "requests_before": 880.0, "pre_age_s": 7260.0, "exercised": True, "doubts": []}
    make_verdict(deployment, health={"healthy": "no", "reasons": [{"reason": "40 % fail."}]}, basis=basis)
    page = browser_of.get(address(deployment))
    shows(page, "The service now Not healthy 40 % fail.", "About 880 requests before, 12,300 after", "2 h 1 min before")
    assert "service not healthy" in words(browser_of.get(LIST))


def test_a_verdict_without_these_statements_says_that_health_is_not_known(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_verdict(deployment, checks=[{"metric": "error_rate", "fact": None}])
    page = browser_of.get(address(deployment))
    shows(page, "The service now Not known")
    assert "No requests before or after" not in words(page)


def test_a_revised_final_word_is_not_shown_at_the_early_verdict(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.ANALYZED)
    final = {"verdict": "ok", "confidence": 0.7, "conclusive": True, "summary": "It calmed down.", "checks": []}
    revisions = [{"verdict": "warning", "replaced_at": "2026-11-20T10:00:00+00:00", "by": "ada"}]
    verdict = {"verdict": VerdictName.ROLLBACK_RECOMMENDED, "early": True, "final": final, "revisions": revisions}
    make_verdict(deployment, **verdict)
    text = words(browser_of.get(address(deployment)))
    head, end = text.split("At the end of the window", 1)
    assert "Revised" not in head
    assert "Revised by ada; before: Warning" in end


def test_the_misses_of_an_early_verdict_are_those_of_its_whole_window(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.ANALYZED)
    misses = [{"phase": "post", "sequence_index": index, "reason": "dns"} for index in range(1, 6)]
    final = {"verdict": "rollback_recommended", "confidence": 0.9, "conclusive": True, "evidence": {"misses": misses}}
    evidence = {"misses": misses[:2]}
    make_verdict(deployment, verdict="rollback_recommended", early=True, final=final, evidence=evidence)
    text = words(browser_of.get(address(deployment)))
    shows(text, "After 1–5 host name not found", "Sample 5 after: no sample host name not found")


def test_a_verdict_of_a_whole_window_is_called_final(browser_of, environment):
    text = words(browser_of.get(address(scenes.judged(environment))))
    shows(text, "OK Final", without=["Early"])


def test_a_verdict_in_shadow_mode_says_that_it_never_gates(browser_of, environment):
    set_policy(environment, {"shadow": True}, source="dashboard")
    deployment = scenes.judged(environment, **scenes.BROKEN)
    assert "Shadow mode: recorded, never gates" in words(browser_of.get(address(deployment)))
    assert "shadow mode" in words(browser_of.get(LIST))


def test_what_it_was_compared_with_and_what_was_left_out_is_shown(browser_of, environment):
    deployment = scenes.with_baseline(environment, **scenes.SLOW)
    text = words(browser_of.get(address(deployment)))
    origins = deployment.verdict.evidence["pre_origins"]
    assert origins["baseline"] > 15
    assert f"{origins['baseline']} of the baseline" in text
    assert "1 taken when the deployment began" in text
    assert f"{len(deployment.verdict.evidence['excluded'])} excluded by hand: load test" in text


def test_samples_from_before_are_drawn_apart_by_where_they_come_from(browser_of, environment):
    deployment = scenes.with_baseline(environment)
    page = browser_of.get(address(deployment)).content.decode()
    left_out = len(deployment.verdict.evidence["excluded"])
    assert left_out > 0
    # Five charts, and the legend.
    assert page.count('class="dot-pre"') == 5 + 1
    assert page.count('class="dot-baseline"') == 5 * (25 - left_out) + 1
    assert page.count('class="dot-left-out"') == 5 * left_out + 1
    assert page.count('class="level-band"') == 5 + 1
    assert "dot-history" not in page


def test_earlier_deployments_that_helped_out_are_named_and_linked(browser_of, environment):
    deployment = scenes.with_history(environment)
    page = browser_of.get(address(deployment))
    shows(page, "15 from the windows of the last good deployments", ": #1 , #2 , #3")
    has(page, *(f'href="{address(helper)}"' for helper in Deployment.objects.exclude(pk=deployment.pk)))
    assert page.content.decode().count('class="dot-history"') == 5 * 15 + 1


def test_earlier_days_that_were_compared_are_counted(browser_of, environment):
    shows(browser_of.get(address(scenes.with_earlier_days(environment))), "2 earlier days at the same minutes")


def test_before_a_verdict_what_will_be_left_out_is_drawn_so_already(browser_of, environment):
    scenes.sample_baseline(environment, minutes_ago=4)
    now = timezone.now()
    exclude_window(environment, now - timedelta(minutes=60), now)
    page = browser_of.get(address(scenes.half_observed(environment))).content.decode()
    assert "dot-baseline" not in page
    # 25 of the baseline and the one of the trigger's own time: that is not of the baseline, and counts.
    assert page.count('class="dot-left-out"') == 5 * 25 + 1


def test_the_policy_of_a_verdict_is_shown_with_its_limits_and_version(browser_of, environment):
    policy = {"sensitivity": "high", "limits": {"latency_p95": 800, "requests_per_sec": 5}, "left_out": ["cpu_usage"]}
    version = set_policy(environment, policy, source="file")
    deployment = make_deployment(environment=environment, state=State.FINISHED, policy_version=version)
    make_samples(deployment)
    shows(
        browser_of.get(address(judge_now(deployment))),
        "Adaptive: compare with the service's own level · sensitivity: High",
        "Version 1, which its trigger call brought",
        "p95 latency: at most 800 ms",
        "Traffic: at least 5.0 req/s",
        "CPU usage: not judged",
    )


def test_a_check_without_a_limit_leaves_the_others_limit_in_the_chart(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_samples(deployment, post=2)
    for index in (3, 4, 5):
        scenes.collection(deployment, index, status="failed", error_code="refused", last_error="connection refused")
    deployment = judge_now(deployment)
    down = next(check for check in deployment.verdict.checks if check["rule"] == UNREACHABLE)
    assert (down["outcome"], down["limit"]) == ("critical", None)
    traffic = figure(browser_of.get(address(deployment)), "requests_per_sec")
    # The missing answers are critical; traffic itself is unchanged.
    assert elements(traffic, ".limit-line")
    assert traffic.get("class") == "chart ok"
    assert "Failed, critical Reachability the service answered before" in words(browser_of.get(address(deployment)))


def test_earlier_deployments_that_helped_out_take_one_query_more(browser_of, environment):
    helped = scenes.with_history(environment)
    assert len(helped.verdict.evidence["history_of"]) == 3
    assert queries_of(browser_of, f"{address(helped)}live/") == 9


def test_what_was_good_before_is_named_beside_a_verdict_that_is_not(browser_of, environment):
    good = make_deployment(environment=environment, state=State.FINISHED, version="2.13.4")
    make_verdict(good)
    wrong = make_deployment(environment=environment, state=State.FINISHED)
    Feedback.objects.create(verdict=make_verdict(wrong), right=False)
    make_verdict(make_deployment(environment=environment, state=State.FINISHED), verdict="ok", conclusive=False)
    make_verdict(make_deployment(environment=make_environment(project=environment.project), state=State.FINISHED))
    broken = scenes.judged(environment, **scenes.BROKEN)
    assert f"Last good here: #{good.number} 2.13.4" in words(browser_of.get(address(broken)))
    assert "Last good here" not in words(browser_of.get(address(good)))


def test_charts_tell_the_levels_that_the_judge_compared(browser_of, environment):
    deployment = scenes.judged(environment, **scenes.SLOW)
    check = next(one for one in deployment.verdict.checks if one["metric"] == "latency_p95")
    latency = figure(browser_of.get(address(deployment)), "latency_p95")
    assert f"{check['observed']:.0f} ms" in [words(one) for one in elements(latency, "strong")]
    assert any(words(one).endswith(f"{check['baseline']:.0f} ms") for one in elements(latency, "span"))


# --- marking a verdict right or wrong ---


@pytest.fixture
def deployment(environment: Environment) -> Deployment:
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_verdict(deployment, verdict=VerdictName.ROLLBACK_RECOMMENDED)
    return deployment


def mark(client: Client, deployment: Deployment, **fields: str) -> Any:
    return client.post(f"{address(deployment)}feedback/", {f"feedback-{name}": text for name, text in fields.items()})


def test_a_mark_is_stored_and_shown_with_who_gave_it_and_why(browser_of, deployment, user):
    answer = mark(browser_of, deployment, mark="wrong", should_have_been="ok", reason="The load test did that.")
    assert (answer.status_code, answer["Location"]) == (302, f"{address(deployment)}#feedback")
    feedback = Feedback.objects.get()
    assert (feedback.right, feedback.should_have_been, feedback.given_by) == (False, "ok", user)
    text = words(browser_of.get(address(deployment)))
    shows(text, "Marked wrong , it should have been: OK · ada · just now", "The load test did that.")


def test_a_later_mark_replaces_the_first(browser_of, deployment, environment):
    mark(browser_of, deployment, mark="wrong", should_have_been="ok")
    admin = as_role(environment, Role.ADMIN)
    mark(admin, deployment, mark="right", should_have_been="warning")
    feedback = Feedback.objects.get()
    assert (feedback.right, feedback.should_have_been, feedback.label) == (True, "", "rollback_recommended")
    assert "Marked right" in words(admin.get(address(deployment)))


def test_the_form_to_change_a_mark_shows_it_as_it_stands(browser_of, deployment):
    mark(browser_of, deployment, mark="wrong", should_have_been="warning", reason="Only slow.")
    page = browser_of.get(address(deployment)).content.decode()
    assert "Change feedback" in page
    assert [field.get("value") for field in elements(page, "input[checked]")] == ["wrong"]
    assert '<option value="warning" selected>' in page


def test_a_wrong_verdict_cannot_have_been_the_right_one(browser_of, deployment):
    shows(mark(browser_of, deployment, mark="wrong", should_have_been="rollback_recommended"), "Select a valid choice")
    assert not Feedback.objects.exists()


def test_a_viewer_sees_the_mark_and_no_form(browser_of, deployment, user):
    mark(browser_of, deployment, mark="right", reason="I looked.")
    Membership.objects.filter(user=user).update(role=Role.VIEWER)
    page = browser_of.get(address(deployment))
    shows(page, "Marked right", "I looked.")
    assert "feedback-form" not in page.content.decode()


def test_a_viewer_reads_that_it_is_not_marked(deployment, environment):
    shows(as_role(environment, Role.VIEWER).get(address(deployment)), "Nobody has marked it yet.")


def test_without_a_verdict_there_is_nothing_to_mark(browser_of, environment):
    running = make_deployment(environment=environment, state=State.FINISHED)
    assert mark(browser_of, running, mark="right").status_code == 404
    assert "Was this verdict right?" not in words(browser_of.get(address(running)))


def test_an_early_verdict_can_be_marked_while_its_window_goes_on(browser_of, environment):
    deployment = scenes.called_out_early(environment)
    assert mark(browser_of, deployment, mark="right").status_code == 302
    assert "Marked right" in words(browser_of.get(address(scenes.end_window(deployment))))


def test_a_mark_outlives_the_user_who_gave_it(browser_of, deployment, environment, user):
    mark(browser_of, deployment, mark="right")
    User.objects.filter(pk=user.pk).delete()
    shows(as_role(environment, Role.MEMBER).get(address(deployment)), "Marked right · – ·")


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:30])
@pytest.mark.parametrize("field", ["mark", "should_have_been", "reason"])
def test_every_field_takes_every_hostile_text(browser_of, deployment, field, text):
    answer = mark(browser_of, deployment, **{"mark": "wrong", field: text})
    assert answer.status_code in (200, 302)
    assert "<script>alert(1)" not in answer.content.decode()
    assert "<script>alert(1)" not in browser_of.get(address(deployment)).content.decode()
