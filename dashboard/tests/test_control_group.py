"""The page of a deployment shows the control group beside it."""

from datetime import timedelta

import pytest

from analysis.models import Step
from analysis.tests.factories import judge_now
from dashboard.deployments.detail import charts_of
from dashboard.deployments.queries import deployment_detail
from dashboard.tests.pages import address, shows
from deployments.models import Deployment, State
from explain.facts import Fact
from metrics.models import Group, Phase
from metrics.tests.factories import make_sample, make_samples
from tests.factories import make_deployment

pytestmark = pytest.mark.django_db


def test_a_slow_database_behind_both_groups_is_shown_and_not_blamed(browser_of, environment, user):
    deployment = make_deployment(
        environment=environment,
        state=State.FINISHED,
        control={"endpoint": "https://old.example/m"},
        green="https://green.example/m",
    )
    make_samples(deployment, latency_p95=400.0)
    for number in range(3):
        at = deployment.started_at + timedelta(seconds=number)
        make_sample(deployment, phase=Phase.PRE, group=Group.CONTROL, sequence_index=number, collected_at=at)
    for index in range(1, 6):
        make_sample(deployment, sequence_index=index, group=Group.CONTROL, latency_p95=410.0)
    Deployment.objects.update(
        control_problem=Fact("http_5xx", {"status": 503, "url": "https://old.example/m"}).to_json()
    )
    judge_now(deployment)
    page = browser_of.get(address(deployment))
    shows(page, "without what the control group did at the same time", "8 samples of the control group")
    shows(page, "Control group https://old.example/m", "Measured at https://green.example/m")
    shows(page, "measured: 400", "control group: 410", "Control group: HTTP 503 from https://old.example/m")
    [latency] = [one for one in charts_of(deployment_detail(user, deployment.uuid)) if one.metric == "latency_p95"]
    assert (len(latency.control), len(latency.control_lines)) == (5, 1)
    assert "".join(latency.control_lines) != "".join(latency.lines)
    assert deployment.verdict.verdict == "ok"


def test_steps_of_a_rollout_are_in_the_timeline_with_their_verdicts(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.RUNNING, finished_at=None)
    begun = Step.objects.create(
        deployment=deployment, number=1, percent=25, samples=5, interval_s=60.0, starts_at=deployment.started_at
    )
    shows(browser_of.get(address(deployment)), "Step to 25 % of the traffic")
    summary = {"summary": "It is slower.", "fact": Fact("It is slower.").to_json()}
    at = deployment.started_at + timedelta(minutes=5)
    Step.objects.filter(pk=begun.pk).update(verdict="warning", outcome={"verdict": "warning", **summary}, judged_at=at)
    shows(browser_of.get(address(deployment)), "Step 25 %: Warning", "It is slower.")
    [step] = browser_of.get(f"{address(deployment)}download.json").json()["steps"]
    assert (step["percent"], step["verdict"], step["summary"]) == (25, "warning", "It is slower.")
