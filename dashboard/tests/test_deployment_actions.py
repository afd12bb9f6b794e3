"""Actions on a deployment: compare, rerun, replay, download."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from analysis.judge import judge, judge_early
from analysis.judge.types import METRICS, EarlierDay, Miss, Sample, Window
from analysis.models import DeploymentVerdict, Hint
from analysis.recorded import read_alert, read_expectation
from analysis.services import give_feedback
from dashboard.tests import scenes
from dashboard.tests.pages import address, elements, has, queries_of, shows, words
from deployments.models import Deployment, State
from explain.rendering import render
from projects.policy import policy_from_dict
from projects.services import set_policy
from tests.factories import make_deployment, make_environment

pytestmark = pytest.mark.django_db
ACTIONS = ("compare/", "rerun/", "replay/", "download.json")
LENIENT = {"limits": {"latency_p95": 5000, "cpu_usage": 1}}


def fresh(deployment: Deployment) -> Deployment:
    return Deployment.objects.select_related("verdict").get(pk=deployment.pk)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_takes_the_same_queries_whatever_there_is(browser_of, environment, action):
    scenes.sample_baseline(environment, minutes_ago=400)
    before = scenes.judged(environment, minutes_ago=400)
    few = queries_of(browser_of, f"{address(scenes.judged(environment, minutes_ago=300))}{action}")
    for place in range(6):
        other = scenes.judged(environment, minutes_ago=200 - place, **scenes.BROKEN)
        give_feedback(other.verdict, right=True, by=None)
    scenes.sample_baseline(environment, minutes_ago=6)
    many = scenes.judged(environment, **scenes.BROKEN)
    assert Deployment.objects.filter(pk=before.pk).exists()
    # Session, user, deployment, role, steps; for compare two deployments with their data, and the choices; for rerun
    # also alerts.
    assert (
        queries_of(browser_of, f"{address(many)}{action}")
        <= few
        <= {"compare/": 16, "rerun/": 14, "replay/": 4, "download.json": 9}[action]
    )


NIGHT: list[tuple[str, list[Any], list[Any]]] = [
    ("some", [42.0, 0.0, 42.0, 0.0, 42.0], [118.0, None, 120.0, None, 119.0]),
    ("none", [0.0] * 5, [None] * 5),
]


@pytest.mark.parametrize(("requests", "latency"), [case[1:] for case in NIGHT], ids=[case[0] for case in NIGHT])
def test_every_reader_takes_samples_without_requests_and_latency(browser_of, environment, requests, latency):
    scenes.judged(environment, minutes_ago=30, requests_per_sec=requests, latency_p95=latency)
    scenes.sample_baseline(environment, minutes_ago=6)
    environment.samples.filter(phase="baseline", pk__gt=3).update(requests_per_sec=0, latency_p95=None)
    now = scenes.judged(environment, requests_per_sec=requests, latency_p95=latency)
    for path in ("", "live/", *ACTIONS):
        assert browser_of.get(f"{address(now)}{path}").status_code == 200, path
    for path in ("/dashboard/", f"/dashboard/environments/{environment.pk}/", "/dashboard/deployments/csv/"):
        assert browser_of.get(path).status_code == 200, path
    rows = [words(row) for row in elements(browser_of.get(address(now)), "#samples tr") if "req/s –" in words(row)]
    assert len(rows) >= latency.count(None)
    document = json.loads(browser_of.get(f"{address(now)}download.json").content)
    assert [one["latency_p95"] for one in document["judged_on"]["samples"] if one["origin"] == "post"] == latency
    assert recomputed(document).verdict == fresh(now).verdict.verdict


# --- compare ---------------------------------------------------------------------------------------------------------


def test_a_deployment_is_compared_with_the_one_before_it(browser_of, environment):
    scenes.judged(environment, minutes_ago=90)
    before = scenes.judged(environment, minutes_ago=60)
    make_deployment(environment=environment, state=State.SUPERSEDED)
    scenes.judged(make_environment(project=environment.project), minutes_ago=30)
    now = scenes.judged(environment, **scenes.SLOW)
    page = browser_of.get(f"{address(now)}compare/")
    text = words(page)
    shows(text, f"#{now.number} Rollback recommended", f"#{before.number} OK", before.verdict.summary)
    # 118 ms before, 376 ms after it, as judged; 118 ms after the other one.
    shows(text, "p95 latency", "+219 %")
    body = page.content.decode()
    # Five charts of two windows with five samples each; and the legend.
    assert body.count('class="chart overlay"') == 5
    assert body.count('class="dot-post"') == body.count('class="other-dot"') == 5 * 5 + 1


def test_another_one_of_the_environment_can_be_chosen(browser_of, environment):
    first = scenes.judged(environment, minutes_ago=90, **scenes.BROKEN)
    scenes.judged(environment, minutes_ago=60)
    now = scenes.judged(environment)
    page = browser_of.get(f"{address(now)}compare/", {"with": str(first.uuid)})
    assert elements(page, f'option[value="{first.uuid}"][selected]')
    assert browser_of.get(f"{address(first)}compare/", {"with": str(now.uuid)}).status_code == 200


def test_what_cannot_be_compared_is_not_found(browser_of, environment):
    now = scenes.judged(environment)
    elsewhere = scenes.judged(make_environment(project=environment.project))
    foreign = scenes.judged(make_environment())
    for other in (elsewhere.uuid, foreign.uuid, now.uuid, uuid4(), "x", "\x00", "1" * 5000, "٣"):
        assert browser_of.get(f"{address(now)}compare/", {"with": str(other)}).status_code == 404


def test_the_first_deployment_has_nothing_to_be_compared_with(browser_of, environment):
    text = words(browser_of.get(f"{address(scenes.judged(environment))}compare/"))
    assert "There is no earlier deployment of this environment to compare with." in text


def test_values_no_service_has_can_be_compared(browser_of, environment):
    scenes.judged(environment, minutes_ago=60, requests_per_sec=0.0, latency_p95=5e-324, error_rate=0.0)
    now = scenes.judged(environment, requests_per_sec=[0.0, 1e308, 1.7e308, 5e-324, 1e22], latency_p95=1e300)
    assert browser_of.get(f"{address(now)}compare/").status_code == 200


def test_deployments_without_samples_are_compared_by_what_there_is(browser_of, environment):
    make_deployment(environment=environment, state=State.FINISHED)
    now = make_deployment(environment=environment, state=State.FINISHED)
    assert "no samples" in words(browser_of.get(f"{address(now)}compare/"))


# --- rerun -----------------------------------------------------------------------------------------------------------


def token_in(page: Any) -> str:
    return str(elements(page, '[name="token"]')[0].get("value"))


def test_a_rerun_shows_what_it_says_and_writes_only_when_asked_to(browser_of, environment):
    deployment = scenes.judged(environment, **scenes.SLOW)
    set_policy(environment, LENIENT, source="dashboard")
    page = browser_of.get(f"{address(deployment)}rerun/")
    shows(page, "The verdict would change.", "p95 latency changed")
    assert fresh(deployment).verdict.verdict == "rollback_recommended"
    answer = browser_of.post(f"{address(deployment)}rerun/", {"token": token_in(page)})
    assert (answer.status_code, answer["Location"]) == (302, address(deployment))
    assert fresh(deployment).verdict.verdict == "ok"
    text = words(browser_of.get(address(deployment)))
    assert "What it said before is kept." in text
    assert "Analysis run again by ada: OK" in text
    assert "Revised by ada; before: Rollback recommended, just now" in text


def test_where_nothing_would_change_nothing_is_offered(browser_of, environment):
    page = browser_of.get(f"{address(scenes.judged(environment))}rerun/")
    assert "says the same as what is recorded" in words(page)
    assert 'name="token"' not in page.content.decode()


@pytest.mark.parametrize("token", ["", "x", "\x00", "0" * 64, "\ud800"])
def test_a_token_of_something_else_stores_nothing(browser_of, environment, token):
    deployment = scenes.judged(environment, **scenes.SLOW)
    set_policy(environment, LENIENT, source="dashboard")
    answer = browser_of.post(f"{address(deployment)}rerun/", {"token": token.encode("utf-8", "surrogatepass")})
    shows(answer, "has changed since you looked", status=409)
    # What it says now is shown, to be looked at and stored.
    assert token_in(answer)
    assert fresh(deployment).verdict.revisions is None


def test_why_it_cannot_run_again_is_said(browser_of, environment):
    for deployment, reason in (
        (scenes.half_observed(environment), "Its samples are still coming in."),
        (make_deployment(environment=environment), "The pipeline has not called finish yet"),
        (make_deployment(environment=environment, state=State.ABANDONED), "ended without a finish"),
    ):
        for answer in (
            browser_of.get(f"{address(deployment)}rerun/"),
            browser_of.post(f"{address(deployment)}rerun/"),
        ):
            assert words(answer).count(reason) == 1
        assert not DeploymentVerdict.objects.exists()


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_shows_another_policys_verdict_check_by_check_and_writes_nothing(browser_of, environment):
    deployment = scenes.judged(environment, **scenes.SLOW)
    before = (DeploymentVerdict.objects.values().get(), list(Hint.objects.values()), dict(environment.policy))
    form = browser_of.get(f"{address(deployment)}replay/")
    assert "Policy to try" in words(form)
    assert "baseline_interval_s" not in form.content.decode()
    data = {"kind": "adaptive", "sensitivity": "normal", "limits.latency_p95": "5000", "limits.cpu_usage": "100"}
    answer = browser_of.post(f"{address(deployment)}replay/", data)
    assert "The verdict would change." in words(answer)
    rows = [words(row) for row in elements(answer, ".beside-checks tr")]
    latency = next(row for row in rows if "p95 latency" in row)
    assert latency.startswith("p95 latency changed Recorded Failed, critical limit ")
    assert "With this policy Passed limit 5000 ms" in latency
    environment.refresh_from_db()
    assert (DeploymentVerdict.objects.values().get(), list(Hint.objects.values()), environment.policy) == before


def test_the_fixed_policy_can_be_tried(browser_of, environment):
    deployment = scenes.judged(environment)
    text = words(browser_of.post(f"{address(deployment)}replay/", {"kind": "fixed", "fixed.latency_p95.limit": "50"}))
    shows(text, "Fixed: the same limits", "The verdict would change.")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "x"},
        {"kind": "adaptive", "sensitivity": "normal", "limits.latency_p95": "many"},
        {"kind": "adaptive", "sensitivity": "normal", "limits.latency_p95": "9" * 400},
        {"kind": "fixed", "fixed.latency_p95.limit": "0"},
        {"kind": "adaptive", "sensitivity": "\x00"},
    ],
)
def test_a_policy_that_cannot_be_is_refused_at_its_field(browser_of, environment, data):
    answer = browser_of.post(f"{address(scenes.judged(environment))}replay/", data)
    shows(answer, "Nothing was replayed.")
    assert "field-error" in answer.content.decode()


def test_while_the_window_is_open_there_is_nothing_to_replay(browser_of, environment):
    deployment = scenes.called_out_early(environment)
    data = {"kind": "adaptive", "sensitivity": "normal"}
    assert "Its samples are still coming in." in words(browser_of.post(f"{address(deployment)}replay/", data))


# --- download --------------------------------------------------------------------------------------------------------


def recomputed(document: dict[str, Any], *, until: str | None = None) -> Any:
    """The verdict that follows from a downloaded file alone."""
    given, samples = document["judged_on"], document["judged_on"]["samples"]

    def value(one: dict[str, Any]) -> Sample:
        at = datetime.fromisoformat(one["collected_at"])
        values = {name: one[name] for name in (*METRICS, "custom", "instances")}
        return Sample(collected_at=at, origin=one["origin"], **values)

    def moment(text: str | None) -> datetime | None:
        return datetime.fromisoformat(text) if text else None

    window = given["window"]
    finished = moment(window["finished_at"])
    assert finished is not None
    kept = [one for one in samples if not one["left_out"]]
    post = [value(one) for one in kept if one["origin"] == "post" and (until is None or one["collected_at"] <= until)]
    pre = [value(one) for one in kept if one["origin"] != "post"]
    misses = tuple(
        Miss(
            finished + timedelta(seconds=one["sequence_index"] * window["interval_s"]),
            one["reason"],
            one["phase"],
            one["sequence_index"],
        )
        for one in window["misses"]
    )
    observed = Window(
        window["expected"],
        window["interval_s"],
        moment(window["evaluated_at"]),
        moment(window["started_at"]),
        finished,
        misses,
        earlier_days=tuple(EarlierDay(**day) for day in window["earlier_days"]),
        bad_predecessor=window["bad_predecessor"],
        endpoint_answered_before=window["endpoint_answered_before"],
        settle_s=window["settle_s"],
        control_before=tuple(value(one) for one in given["control"] if one["origin"] == "pre"),
        control_after=tuple(value(one) for one in given["control"] if one["origin"] == "post"),
        has_control=window["has_control"],
        expectations=tuple(map(read_expectation, window["expectations"])),
        alerts=tuple(map(read_alert, window["alerts"])),
    )
    return (judge if until is None else judge_early)(pre, post, policy_from_dict(document["policy"]), observed)


SCENES = (
    scenes.with_baseline,
    scenes.with_history,
    scenes.with_earlier_days,
    scenes.with_control,
    scenes.with_alert,
    scenes.with_journeys,
    scenes.after_a_bad_one,
    scenes.judged,
    scenes.poorly_observed,
)


@pytest.mark.parametrize("scene", SCENES)
def test_the_verdict_follows_from_the_file_alone(browser_of, environment, scene):
    deployment = scene(environment, **({} if scene is scenes.poorly_observed else scenes.SLOW))
    answer = browser_of.get(f"{address(deployment)}download.json")
    assert answer["Content-Disposition"] == (
        f'attachment; filename="deployment-{deployment.number}-{deployment.uuid}.json"'
    )
    document = json.loads(answer.content)
    assert document["format"] == 1
    again = recomputed(document)
    recorded = document["verdict"]
    assert (again.verdict, again.confidence, again.conclusive, render(again.summary)) == (
        recorded["verdict"],
        recorded["confidence"],
        recorded["conclusive"],
        recorded["summary"],
    )
    assert [check.outcome for check in again.checks] == [check["outcome"] for check in recorded["checks"]]
    assert [hint["code"] for hint in document["hints"]] == list(deployment.hints.values_list("code", flat=True))


def test_the_file_of_an_early_verdict_has_its_final_word_and_its_evidence(browser_of, environment):
    deployment = scenes.end_window(scenes.called_out_early(environment))
    document = json.loads(browser_of.get(f"{address(deployment)}download.json").content)
    assert document["verdict"]["early"]
    assert recomputed(document).verdict == document["verdict"]["final"]["verdict"]
    assert [entry["event"] for entry in document["timeline"]].count("final") == 1


def test_the_file_holds_no_secret(browser_of, environment, user):
    environment.hmac_secret = "hmac-secret-of-prod"
    environment.metrics_endpoint = "https://user:word@metrics.example/m"
    environment.save()
    deployment = scenes.judged(environment)
    give_feedback(deployment.verdict, right=True, by=user, reason="fine")
    body = browser_of.get(f"{address(deployment)}download.json").content.decode()
    has(body, '"reason": "fine"', without=["hmac-secret-of-prod", "metrics.example", "user:word"])


def test_a_deployment_without_a_verdict_can_be_downloaded(browser_of, environment):
    for deployment in (make_deployment(environment=environment), scenes.half_observed(environment)):
        sent = json.loads(browser_of.get(f"{address(deployment)}download.json").content)
        assert (sent["verdict"], sent["policy"], sent["deployment"]["state"]) == (None, None, deployment.state)
