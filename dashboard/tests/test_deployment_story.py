"""The page of a deployment besides its verdict: timeline, neighbours, icon of the tab."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.models import User
from analysis.models import DeploymentVerdict, VerdictName
from analysis.rerun import preview_rerun, store_rerun
from analysis.services import give_feedback
from dashboard.deployments.queries import deployment_detail
from dashboard.deployments.timeline import SOURCES, timeline_of
from dashboard.i18n import message
from dashboard.labels import STATES, VERDICTS
from dashboard.tests import scenes
from dashboard.tests.pages import address, as_role, elements, has, shows, words
from deployments.models import Deployment, State
from deployments.outbox import event_about
from events.outbox import emit
from notifications.models import RollbackAttempt
from projects.services import set_policy
from scheduler.models import JobStatus
from tests.factories import make_deployment, make_environment, make_samples, make_verdict

pytestmark = pytest.mark.django_db


def events(user: User, deployment: Deployment) -> list[tuple[str, str, str]]:
    """(event, what, note) of the timeline."""
    entries = timeline_of(deployment_detail(user, deployment.uuid))
    assert entries == sorted(entries, key=lambda entry: entry.at)
    return [(entry.event, entry.what, message(entry.note)) for entry in entries]


# --- the timeline ----------------------------------------------------------------------------------------------------


def test_the_timeline_tells_everything_from_trigger_to_mark_in_order(browser_of, environment, user):
    deployment = scenes.judged(environment, **scenes.SLOW)
    give_feedback(deployment.verdict, right=True, by=user, reason="The cache was gone.")
    entries = events(user, deployment)
    after = ["sample"] * 5
    assert [event for event, *_ in entries] == ["trigger", "sample", "finish", *after, "verdict", "feedback"]
    assert entries[0][2] == "feature/checkout-retries · 4f2a9c1e · 2.14.0"
    assert entries[-1][1:] == ("Marked right by ada", "The cache was gone.")
    page = browser_of.get(address(deployment))
    shows(page, "−1 min The pipeline called trigger", "+5 min Sample 5 after: collected")
    assert page.content.decode().count('class="timeline-entry') == len(entries)


def test_each_try_that_failed_is_shown_and_how_a_sample_was_taken(user, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_samples(deployment, post=1)
    due = deployment.started_at + timedelta(minutes=2)
    failed = [
        {"at": (due + timedelta(seconds=s)).isoformat(), "event": event, "code": code, "error": error, "poller": "p1"}
        for s, event, code, error in (
            (1, "put off", "timeout", "no answer within 5 s"),
            (31, "recovered", "poller_lost", "its poller is gone"),
        )
    ]
    scenes.collection(
        deployment,
        1,
        status=JobStatus.COMPLETED,
        retry_count=1,
        history=failed,
        started_at=due + timedelta(seconds=40),
        finished_at=due + timedelta(seconds=40.3),
    )
    scenes.collection(
        deployment,
        2,
        status=JobStatus.FAILED,
        last_error="HTTP 503",
        error_code="http_5xx",
        finished_at=due + timedelta(minutes=1),
        history=[{**failed[0], "at": (due + timedelta(minutes=1)).isoformat(), "event": "failed", "error": "HTTP 503"}],
    )
    entries = events(user, deployment)
    assert ("retry", "Sample 1 after failed, to be tried again", "no answer within 5 s") in entries
    assert ("retry", "Sample 1 after was taken back from a poller that was lost", "its poller is gone") in entries
    assert ("sample", "Sample 1 after: collected", "took 0.3 s, 40 s late, at try 2") in entries
    # Its last failure is the miss, which is not repeated.
    assert [one for one in entries if "Sample 2" in one[1]] == [("miss", "Sample 2 after: no sample", "HTTP 503")]


@pytest.mark.parametrize("history", ["a text", {"at": "now"}, [1, None, {"at": "never", "event": "put off"}], [{}]])
def test_a_history_that_was_written_by_hand_does_no_harm(browser_of, environment, history):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    scenes.collection(deployment, 1, status=JobStatus.FAILED, history=history)
    assert browser_of.get(address(deployment)).status_code == 200


def test_misses_keep_their_place_in_the_timeline_when_their_jobs_are_gone(user, environment):
    deployment = scenes.poorly_observed(environment)
    with_jobs = [one for one in events(user, deployment) if one[0] == "miss"]
    deployment.jobs.all().delete()
    without = [one for one in events(user, deployment) if one[0] == "miss"]
    assert [what for _, what, _ in without] == [what for _, what, _ in with_jobs]
    assert ("miss", "Sample 3 after: no sample", "connection refused") in without


def test_an_early_verdict_and_its_final_word_are_two_entries(user, environment):
    deployment = scenes.end_window(scenes.called_out_early(environment))
    entries = [one[:2] for one in events(user, deployment)]
    assert ("verdict", "Early verdict: Rollback recommended") in entries
    assert ("final", "At the end of the window: Rollback recommended") in entries


def attempted(deployment: Deployment, minutes: int, **fields: Any) -> RollbackAttempt:
    """Write an attempt, sent so many minutes after the verdict where it was approved."""
    at = deployment.verdict.created_at + timedelta(minutes=minutes)
    times = {"approved_at": at, "sending_at": at, "ended_at": at, **fields}
    environment = deployment.environment
    return RollbackAttempt.objects.create(
        deployment=deployment, environment=environment, **{"made_at": at - timedelta(seconds=30), **times}
    )


def test_the_timeline_tells_a_rollback_from_question_to_result(user, environment):
    bad = scenes.judged(environment, **scenes.BROKEN)
    back = make_deployment(
        environment=environment, state=State.ANALYZED, started_at=bad.verdict.created_at + timedelta(minutes=2)
    )
    made = make_verdict(back)
    DeploymentVerdict.objects.filter(pk=made.pk).update(created_at=back.started_at + timedelta(minutes=7))
    attempted(
        bad, 1, state="sent", who="ana", via="slack", answer_status=202, answer="ok", rollback=back, result="worked"
    )
    told = [one for one in events(user, bad) if "roll" in one[0]]
    assert told == [
        ("rollback_asked", "A rollback waits for approval", ""),
        ("rollback_approved", "Rollback approved by ana", ""),
        ("rollback_sent", "The request to roll back was sent", ""),
        ("rollback_ended", "The receiver accepted the request to roll back", "202 ok"),
        ("rolled_back", f"Rolled back by #{back.number}", ""),
        ("rollback_result", "The rollback was verified: it worked", ""),
    ]


@pytest.mark.parametrize(
    ("fields", "last"),
    [
        ({"state": "asked", "approved_at": None, "sending_at": None, "ended_at": None}, "rollback_asked"),
        ({"state": "approved", "via": "automatic", "sending_at": None, "ended_at": None}, "rollback_approved"),
        ({"state": "unknown"}, "rollback_ended"),
        ({"state": "failed", "error": {"code": "rollback.refused", "params": {"status": 500}}}, "rollback_ended"),
        ({"state": "withdrawn", "sending_at": None, "error": "no fact"}, "rollback_ended"),
        ({"state": "sent", "result": "missing"}, "rollback_result"),
    ],
)
def test_the_timeline_says_how_far_a_rollback_got(user, environment, fields: dict[str, Any], last: str):
    bad = scenes.judged(environment, **scenes.BROKEN)
    attempted(bad, 1, **fields)
    found = [event for event, *_ in events(user, bad)]
    assert found[-1] == last
    assert ("rollback_asked" in found) == (fields.get("via") != "automatic")


def test_the_timeline_names_who_forced_a_freeze_and_why(browser_of, user, environment):
    deployment = make_deployment(environment=environment, author="ana", state=State.RUNNING)
    emit(event_about(deployment, "freeze_forced", frozen="Black Friday", reason="hotfix"))
    what = "Began in spite of the freeze “Black Friday”, forced by ana"
    assert ("freeze_forced", what, "hotfix") in events(user, deployment)
    shows(browser_of.get(address(deployment)), f"{what} hotfix")


def test_the_timeline_says_where_a_rollback_goes_back_to_and_that_no_finish_came(user, environment):
    deployment = make_deployment(environment=environment, state=State.ABANDONED, kind="rollback")
    emit(
        event_about(deployment, "rolled_back", rolls_back_to={"number": 7, "commit": "c0ffee"}),
        event_about(deployment, "rolled_back", rolls_back_to=None),
        event_about(deployment, "deployment_abandoned", hours=1.5),
    )
    told = [what for event, what, _ in events(user, deployment) if event != "trigger"]
    assert told == ["It goes back to #7", "Closed without a verdict: no finish came within 1.5 h"]


def test_a_rerun_is_shown_with_who_did_it_and_what_stood(user, environment):
    deployment = scenes.judged(environment, **scenes.SLOW)
    stood = deployment.verdict
    set_policy(environment, {"limits": {"latency_p95": 5000, "cpu_usage": 1}}, source="dashboard")
    store_rerun(deployment.pk, token=preview_rerun(Deployment.objects.get(pk=deployment.pk)).token, by=user)
    entries = events(user, deployment)
    assert ("verdict", f"Verdict: {VERDICTS[stood.verdict].label}", message(stood.judged.verdict.summary)) in entries
    assert entries[-1][:2] == ("rerun", "Analysis run again by ada: OK")


def test_a_superseded_deployment_says_by_which(browser_of, environment):
    old = make_deployment(environment=environment, state=State.SUPERSEDED)
    new = make_deployment(environment=environment, started_at=timezone.now())
    Deployment.objects.filter(pk=old.pk).update(superseded_by=new)
    assert f"Superseded by #{new.number}" in words(browser_of.get(address(old)))


def test_the_page_says_how_long_the_service_settles_before_it_is_measured(browser_of, environment):
    deployment = make_deployment(environment=environment, settle_s=90)
    page = browser_of.get(address(deployment))
    shows(page, "It waits 1 min 30 s before measuring.", "5 samples, every 1 min · waits 1 min 30 s before measuring")
    Deployment.objects.update(state=State.FINISHED, finished_at=timezone.now() - timedelta(seconds=30))
    shows(browser_of.get(address(deployment)), "The service settles; measuring starts in 1 min")
    Deployment.objects.update(finished_at=timezone.now() - timedelta(seconds=91))
    shows(browser_of.get(address(deployment)), "No verdict yet. The last sample is due in 4 min 59 s.")


def test_page_and_list_show_the_first_line_of_the_commit_message(browser_of, environment):
    deployment = make_deployment(environment=environment, commit_message="Pay twice <no>\n\nThe rest.")
    for where in (address(deployment), "/dashboard/deployments/"):
        text = words(browser_of.get(where))
        assert "Pay twice <no>" in text
        assert "The rest." not in text


def test_times_are_those_of_the_users_zone_and_name_it(browser_of, environment, user):
    deployment = scenes.judged(environment)
    User.objects.filter(pk=user.pk).update(time_zone="Asia/Kolkata")
    text = words(browser_of.get(address(deployment)))
    there = deployment.started_at + timedelta(hours=5, minutes=30)
    assert "Times are in IST" in text
    assert f"{there:%H:%M:%S} −1 min The pipeline called trigger" in text
    assert f"{there:%H:%M:%S} IST" in text
    assert "Time (IST)" in text


def test_every_source_of_the_timeline_lives_with_a_deployment_that_has_just_begun(user, environment):
    detail = deployment_detail(user, make_deployment(environment=environment).uuid)
    assert [entry.event for source in SOURCES for entry in source(detail)] == ["trigger"]


# --- samples ---------------------------------------------------------------------------------------------------------


def test_the_table_of_samples_has_a_line_for_what_is_still_to_come(browser_of, environment):
    page = browser_of.get(address(scenes.half_observed(environment)))
    assert len(elements(page, "#samples tr")) == 1 + 1 + 5
    assert words(page, "#samples").count("to come") == 2


# --- neighbours, icon ------------------------------------------------------------------------------------------------


def links(page: Any) -> dict[str, str]:
    return {link.get("rel"): link.get("href") for link in elements(page, ".neighbours a[rel]")}


def test_the_page_leads_to_the_deployments_of_its_environment_before_and_after_it(browser_of, environment):
    first, second = (make_deployment(environment=environment, state=State.FINISHED) for _ in range(2))
    make_deployment(environment=make_environment(project=environment.project))
    make_deployment()
    third = make_deployment(environment=environment, state=State.FINISHED)
    assert links(browser_of.get(address(first))) == {"next": address(second)}
    assert links(browser_of.get(address(second))) == {"prev": address(first), "next": address(third)}
    assert links(browser_of.get(address(third))) == {"prev": address(second)}


@pytest.mark.parametrize(
    ("state", "verdict", "icon"),
    [
        (State.RUNNING, None, "observing"),
        (State.FINISHED, None, "observing"),
        (State.ABANDONED, None, "unknown"),
        (State.FINISHED, VerdictName.OK, "ok"),
        (State.FINISHED, VerdictName.WARNING, "warning"),
        (State.FINISHED, VerdictName.ROLLBACK_RECOMMENDED, "rollback"),
    ],
)
def test_the_tab_shows_how_it_stands_on_the_page_and_in_what_replaces_it(browser_of, environment, state, verdict, icon):
    deployment = make_deployment(environment=environment, state=state)
    if verdict is not None:
        make_verdict(deployment, verdict=verdict)
    page = browser_of.get(address(deployment)).content.decode()
    assert re.search(rf'<link rel="icon" href="/static/seqpulse/icons/{icon}[.\w]*svg"', page)
    fragment = browser_of.get(f"{address(deployment)}live/").content.decode()
    assert re.search(rf'data-live-icon="/static/seqpulse/icons/{icon}[.\w]*svg"', fragment)


def test_every_state_has_an_icon_of_a_shape_of_its_own():
    known = {status.tab_icon for status in (*VERDICTS.values(), *STATES.values())}
    shapes = set()
    for path in known:
        drawn = (settings.BASE_DIR / "static" / path).read_text()
        shapes.add(re.sub(r'(fill|stroke)="#\w+"', "", drawn))
    assert len(shapes) == len(known) >= 5


def test_a_page_left_open_asks_by_htmx_until_there_is_nothing_to_wait_for(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    path = f"{address(deployment)}live/"
    has(browser_of.get(path), f'hx-get="{path}" hx-trigger="every 2000ms, live:now"')
    make_verdict(deployment)
    has(browser_of.get(path), without=["hx-get", "hx-trigger"])


def test_a_mark_of_a_verdict_that_has_been_revised_since_is_refused_with_the_reason(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_verdict(deployment, verdict=VerdictName.OK)
    data = {"feedback-mark": "right", "feedback-seen": "rollback_recommended"}
    shows(browser_of.post(f"{address(deployment)}feedback/", data), "The verdict was revised meanwhile.")
    assert not hasattr(Deployment.objects.get(pk=deployment.pk).verdict, "feedback")


def test_a_viewer_is_offered_what_a_viewer_may_do(environment):
    deployment = scenes.judged(environment)

    def offered(client: Client) -> list[str]:
        links = elements(client.get(address(deployment)), ".deployment-actions a")
        return [link.get("href").rstrip("/").rsplit("/", 1)[1] for link in links]

    assert offered(as_role(environment, "viewer")) == ["compare", "download.json"]
    assert offered(as_role(environment, "member")) == ["compare", "replay", "rerun", "download.json"]
