"""The overview as a browser without JavaScript gets it."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Membership, Role
from analysis.models import VerdictName
from analysis.tests.plans import plans_of
from common.holding import CAN_HOLD
from dashboard.overview.queries import overview_of, projects_of
from dashboard.overview.standings import HINTS_SHOWN
from dashboard.tests import scenes
from dashboard.tests.pages import HOSTILE, address, elements, has, queries_of, shows, words
from dashboard.tests.planted import plant
from deployments.models import Deployment, State
from metrics.configuring import add_source
from metrics.models import Phase
from notifications.tests.factories import make_channel
from projects.models import ApiKey, Environment, Freeze
from tests.factories import (
    make_api_key,
    make_deployment,
    make_environment,
    make_hint,
    make_project,
    make_sample,
    make_samples,
    make_team,
    make_verdict,
)

pytestmark = pytest.mark.django_db

OVERVIEW = "/dashboard/"
LIVE = "/dashboard/live/"
OK, WARNING, ROLLBACK = VerdictName.OK, VerdictName.WARNING, VerdictName.ROLLBACK_RECOMMENDED


def judged(environment: Environment, verdict: str = OK, **kwargs: Any) -> Deployment:
    made = make_deployment(environment=environment, state=State.FINISHED, **kwargs)
    make_verdict(made, verdict=verdict)
    return made


def names(client: Client) -> list[str]:
    """The environments in the order of the page."""
    return [words(name) for name in elements(client.get(OVERVIEW), "tbody .chip bdi")]


def row_of(client: Client, environment: Environment) -> str:
    """The words of the environment's row."""
    rows = elements(client.get(OVERVIEW), "tbody tr")
    (row,) = [row for row in rows if environment.name in map(words, elements(row, ".chip bdi"))]
    return words(row)


def test_environments_with_trouble_come_first(browser_of, environment):
    project = environment.project
    for name, verdict in (("a-ok", OK), ("b-warning", WARNING), ("c-rollback", ROLLBACK), ("d-none", None)):
        made = make_environment(project=project, name=name)
        if verdict is not None:
            judged(made, verdict)
    judged(environment, OK)
    make_deployment(environment=environment, state=State.FINISHED, started_at=timezone.now())
    assert names(browser_of) == ["c-rollback", "prod", "b-warning", "a-ok", "d-none"]
    shows(browser_of.get(OVERVIEW), "Rollback recommended in 1 environment of 5", "1 in progress")


def test_where_nothing_was_judged_the_row_leads_to_what_there_was(browser_of, environment):
    made = make_deployment(environment=environment, state=State.ABANDONED, finished_at=None)
    body = browser_of.get(OVERVIEW).content.decode()
    assert f'href="/dashboard/deployments/{made.uuid}/"' in body[body.index("standings") :]
    assert "#1 Abandoned: no finish came" in row_of(browser_of, environment)


def test_the_headline_counts_deployments_in_progress_and_not_their_environments(browser_of, environment):
    for state in (State.FINISHED, State.RUNNING):
        make_deployment(environment=environment, state=state, started_at=timezone.now())
    judged(environment, OK, started_at=timezone.now() - timedelta(hours=1))
    assert "2 deployments in progress, nothing wrong elsewhere" in words(browser_of.get(OVERVIEW))


def test_a_row_shows_the_last_verdict_with_what_was_deployed(browser_of, environment):
    judged(environment, ROLLBACK, started_at=timezone.now() - timedelta(hours=2))
    last = judged(environment, WARNING, version="2.14.0", branch="main")
    row = row_of(browser_of, environment)
    assert row.startswith("Warning shop prod #2")
    assert "2.14.0" in row
    assert "main" in row
    assert f'href="{address(last)}"' in browser_of.get(OVERVIEW).content.decode()


def test_the_latest_deployment_is_the_one_that_started_last(browser_of, environment):
    judged(environment, OK, started_at=timezone.now() - timedelta(hours=1))
    judged(environment, ROLLBACK, started_at=timezone.now() - timedelta(hours=9))
    assert row_of(browser_of, environment).startswith("OK shop prod #1")


def test_what_is_under_observation_shows_its_progress(browser_of, environment):
    judged(environment, OK, started_at=timezone.now() - timedelta(hours=1))
    watched = scenes.half_observed(environment)
    shows(browser_of.get(OVERVIEW), "In progress now Under observation #2 shop prod 2 of 5 samples · last one due in")
    body = browser_of.get(OVERVIEW).content.decode()
    assert body.count('<li class="filled">') == 2
    assert body.count(f'href="{address(watched)}"') == 2
    # The last verdict stays the last one until the next.
    assert row_of(browser_of, environment).startswith("OK Under observation shop prod #1")


def test_a_deployment_that_is_running_waits_for_its_finish(browser_of, environment):
    make_deployment(environment=environment)
    shows(browser_of.get(OVERVIEW), "Deploying #1 shop prod Waiting for the pipeline to call finish.")


def test_an_early_verdict_is_still_watched(browser_of, environment):
    scenes.called_out_early(environment)
    shows(browser_of.get(OVERVIEW), "Rollback recommended in 1 environment of 1", "4 of 5 samples")
    assert "early" in row_of(browser_of, environment)


@pytest.mark.parametrize(
    ("state", "expected"),
    [(State.ABANDONED, "Abandoned: no finish came"), (State.SUPERSEDED, "Superseded by the next deployment")],
)
def test_a_deployment_without_a_verdict_never_hides_the_last_one(browser_of, environment, state, expected):
    judged(environment, ROLLBACK, started_at=timezone.now() - timedelta(hours=2))
    make_deployment(environment=environment, state=state)
    row = row_of(browser_of, environment)
    assert row.startswith("Rollback recommended shop prod #1")
    assert f"#2 {expected}" in row


def test_the_strip_counts_the_verdicts_of_thirty_days(browser_of, environment, time_machine):
    # Right after midnight, three minutes before 29 days ago are a day that it does not show.
    time_machine.move_to(timezone.now().replace(hour=12), tick=False)
    now = timezone.now()
    for days_ago, verdict in ((0, OK), (0, ROLLBACK), (3, OK), (29, WARNING), (32, ROLLBACK)):
        judged(environment, verdict, started_at=now - timedelta(days=days_ago, minutes=3))
    body = browser_of.get(OVERVIEW).content.decode()
    strip = body[body.index('class="strip"') :]
    strip = strip[: strip.index("</svg>")]
    assert re.findall(r'class="strip-(ok|warning|rollback_recommended)"', strip) == [
        "warning", "ok", "rollback_recommended",
    ]  # fmt: skip
    assert "1 Rollback recommended, 1 OK" in strip
    assert row_of(browser_of, environment).endswith("OK: 2 Warning: 1 Rollback recommended: 1")


def test_critical_hints_are_open_until_the_next_verdict(browser_of, environment):
    first = judged(environment, ROLLBACK, started_at=timezone.now() - timedelta(hours=2))
    make_hint(first, severity="critical", title="Errors above 5 %")
    make_hint(first, severity="warning", title="p95 latency is up")
    shows(browser_of.get(OVERVIEW), "Open critical hints", "Errors above 5 %", without=["p95 latency is up"])
    judged(environment, OK)
    assert "Open critical hints" not in words(browser_of.get(OVERVIEW))


def test_of_very_many_hints_some_are_shown_and_the_rest_counted(browser_of, environment):
    deployment = judged(environment, ROLLBACK)
    for number in range(HINTS_SHOWN + 3):
        make_hint(deployment, severity="critical", title=f"Hint {number}.")
    shows(browser_of.get(OVERVIEW), f"Hint {HINTS_SHOWN - 1}.", "and 3 more", without=[f"Hint {HINTS_SHOWN}."])


def test_archived_and_foreign_projects_are_not_shown(browser_of, environment):
    judged(environment)
    judged(make_environment(project=make_project(name="theirs")), ROLLBACK)
    archived = make_project(team=environment.project.team, name="bygone", archived_at=timezone.now())
    judged(make_environment(project=archived), ROLLBACK)
    for path in (OVERVIEW, LIVE):
        shows(browser_of.get(path), "All latest verdicts are OK", without=["theirs", "bygone"])


def test_what_has_no_deployment_yet_says_what_comes_next(browser_of, environment):
    team = environment.project.team
    judged(environment)
    make_project(team=team, name="bare")
    without = make_environment(project=environment.project, name="staging")
    ready = make_environment(project=environment.project, name="qa", metrics_endpoint="https://qa.example/m")
    assert "what measures it" in row_of(browser_of, without)
    assert "trigger" in row_of(browser_of, ready)
    assert "No environment yet bare Add an environment" in words(browser_of.get(OVERVIEW))


# --- delivery ------------------------------------------------------------------------------------------------------


def test_the_figures_are_of_the_period_and_the_project_that_were_asked_for(browser_of, environment):
    other = make_environment(project=make_project(team=environment.project.team, name="search"))
    judged(environment, ROLLBACK, started_at=timezone.now() - timedelta(days=20))
    judged(environment, OK)
    judged(other, OK)
    shows(browser_of.get(OVERVIEW), "Of deployments that were finished in the last 30 days", "1 of 3 judged")
    assert "0 of 2 judged" in words(browser_of.get(OVERVIEW, {"days": "7"}))
    own = browser_of.get(OVERVIEW, {"days": "90", "project": str(environment.project.uuid)})
    shows(own, "1 of 2 judged", "Delivery · shop")


@pytest.mark.parametrize("days", ["", "x", "0", "-7", "1e9", "\x00", "9" * 5000, "30 "])
def test_a_period_that_is_none_is_the_default(browser_of, environment, days):
    judged(environment)
    shows(browser_of.get(OVERVIEW, {"days": days}), "in the last 30 days")


def test_an_unknown_project_answers_like_a_foreign_one(browser_of, environment):
    judged(environment)
    foreign = make_project()
    archived = make_project(team=environment.project.team, archived_at=timezone.now())
    answers = [
        browser_of.get(OVERVIEW, {"project": str(value)}) for value in (foreign.uuid, uuid4(), "x\x00", archived.uuid)
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_every_figure_says_how_it_is_counted(browser_of, environment):
    judged(environment)
    body = browser_of.get(OVERVIEW).content.decode()
    assert body.count("How it is counted") == body.count('class="figure-number"') == 5
    assert "dora.dev" in body


# --- the way to the first verdict ----------------------------------------------------------------------------------


def states(client: Client) -> list[str]:
    return [step.get("class").removeprefix("step ") for step in elements(client.get(OVERVIEW), "li.step")]


def test_the_guide_follows_what_is_really_there(browser_of, user):
    assert states(browser_of) == ["current", *["todo"] * 5]
    environment = scenes.environment_of(user)
    assert states(browser_of) == ["done", "current", *["todo"] * 4]
    verified = make_deployment(environment=environment, kind="verification", state=State.FINISHED)
    # It takes no pipeline: the calls are still to come.
    assert states(browser_of) == ["done", "current", *["todo"] * 4]
    verified.delete()
    make_sample(make_deployment(environment=environment), phase=Phase.PRE)
    # A deployment in the database and a sample of it: the key has been there.
    assert states(browser_of) == ["done"] * 4 + ["current", "todo"]
    Deployment.objects.update(state=State.FINISHED, finished_at=timezone.now())
    assert states(browser_of) == ["done"] * 5 + ["current"]
    make_verdict(Deployment.objects.get())
    assert states(browser_of) == []
    assert "All latest verdicts are OK" in words(browser_of.get(OVERVIEW))


def test_the_guide_polls_because_no_event_tells_of_a_first_sample_or_key(browser_of, environment):
    def has_stream() -> bool:
        return "data-live-events" in browser_of.get(OVERVIEW, **{CAN_HOLD: True}).content.decode()

    assert states(browser_of)
    assert not has_stream()
    judged(environment)
    assert has_stream()


def test_the_guide_tells_the_next_call_with_this_deployments_id(browser_of, environment):
    make_api_key(project=environment.project, last_used_at=timezone.now())
    deployment = make_deployment(environment=environment)
    has(browser_of.get(OVERVIEW), "It has been used.", f'"deployment_id": "{deployment.uuid}"')


def test_after_the_first_verdict_what_is_left_to_set_up_is_listed_until_it_is_done(browser_of, environment, user):
    def left() -> list[str] | None:
        page = browser_of.get(OVERVIEW)
        shown = elements(page, ".next-steps .current h3")
        return [one.text for one in shown] if elements(page, ".next-steps") else None

    team, project = environment.project.team, environment.project
    Membership.objects.filter(user=user).update(role="admin")
    assert left() is None
    deployment = judged(environment, ROLLBACK)
    # As the demo leaves it: a key of the command, in use.
    make_api_key(project=project, last_used_at=timezone.now())
    connect, notify = "Connect the CI of your service", "Have verdicts sent to you"
    assert left() == [connect, notify]
    assert elements(browser_of.get(OVERVIEW), f'.next-steps a[href="{address(deployment)}"]')
    Membership.objects.filter(user=user).update(role="member")
    assert left() is None
    Membership.objects.filter(user=user).update(role="admin")
    ApiKey.objects.update(created_by=user)
    assert left() == [notify]
    channel = make_channel(team=team)
    assert left() is None
    channel.delete()
    ApiKey.objects.update(created_by=None)
    Deployment.objects.update(url="https://ci.example/1")
    assert left() == [notify]
    assert elements(browser_of.get(OVERVIEW), f'.next-steps a[href="/dashboard/teams/{team.pk}/channels/"]')
    assert browser_of.post("/dashboard/steps/dismiss/").status_code == 302
    assert left() is None


def test_only_an_archived_project_is_like_none(browser_of, environment):
    type(environment.project).objects.update(archived_at=timezone.now())
    assert states(browser_of) == ["current", *["todo"] * 5]


# --- how it is read ------------------------------------------------------------------------------------------------


def test_the_overview_takes_the_same_queries_for_one_environment_as_for_many(browser_of, environment):
    def fill(target: Environment) -> None:
        make_hint(judged(target, ROLLBACK), severity="critical")
        make_samples(make_deployment(environment=target, state=State.FINISHED), post=2)

    fill(environment)
    assert [queries_of(browser_of, path) for path in (OVERVIEW, LIVE)] == [14, 10]
    for number in range(4):
        project = make_project(team=environment.project.team)
        for _ in range(number):
            fill(make_environment(project=project))
    # Session, user, standings; those in progress, environments, their deployments, samples, history bars, the
    # hints, freezes; on the page also the teams that may freeze, the next steps,
    # and the two of the figures.
    assert [queries_of(browser_of, path) for path in (OVERVIEW, LIVE)] == [14, 10]


def test_the_first_steps_take_few_queries(browser_of, environment):
    # Standings, environments, history bars; guide (four); freezes, teams that may freeze; session, user.
    assert queries_of(browser_of, OVERVIEW) == 11


def test_the_freeze_that_is_in_force_or_comes_next_is_on_all_pages(browser_of, environment):
    team, project = environment.project.team, environment.project
    pages = [OVERVIEW, LIVE, f"/dashboard/projects/{project.uuid}/", f"/dashboard/environments/{environment.pk}/"]
    for path in pages:
        assert "frozen" not in words(browser_of.get(path))
    now = timezone.now()
    Freeze.objects.create(team=make_team(), reason="of others")
    Freeze.objects.create(team=team, environment=make_environment(project=make_project(team=team)), reason="elsewhere")
    Freeze.objects.create(team=team, environment=environment, reason="Migration", starts_at=now + timedelta(days=2))
    Freeze.objects.create(team=team, reason="Much later", starts_at=now + timedelta(days=3))
    for path in pages[2:]:
        text = words(browser_of.get(path))
        assert "Deployments will be frozen from" in text and "Migration" in text and "Much later" not in text
    for path in pages[:2]:
        assert "Deployments are frozen: elsewhere" in words(browser_of.get(path))
    Freeze.objects.create(team=team, reason="Black Friday", ends_at=now + timedelta(hours=1))
    for path in pages:
        text = words(browser_of.get(path))
        assert "Deployments are frozen until" in text and "Black Friday" in text and "of others" not in text


def test_who_may_freeze_finds_where_and_others_do_not(browser_of, environment, user):
    project = environment.project
    address = f"/dashboard/teams/{project.team_id}/freezes/"
    pages = [OVERVIEW, f"/dashboard/projects/{project.uuid}/", f"/dashboard/environments/{environment.pk}/"]
    assert [len(elements(browser_of.get(path), f'a[href^="{address}"]')) for path in pages] == [1, 1, 1]
    form = browser_of.get(address, {"environment": environment.pk})
    assert elements(form, f'select[name=environment] option[value="{environment.pk}"][selected]')
    for hostile in HOSTILE:
        assert browser_of.get(address, {"environment": hostile}).status_code == 200
    Membership.objects.filter(user=user).update(role="viewer")
    assert [len(elements(browser_of.get(path), f'a[href^="{address}"]')) for path in pages] == [0, 0, 0]


def test_a_long_history_is_read_by_index(environment, user):
    others = [make_environment(project=environment.project) for _ in range(20)]
    plant(others)
    judged(others[0], started_at=timezone.now() - timedelta(minutes=20))
    make_deployment(environment=others[0], state=State.FINISHED)
    with plans_of() as plans:
        overview = overview_of(projects_of(user))
    assert [row.environment for row in overview.rows if row.watches] == [others[0]]
    for plan in plans:
        assert "Seq Scan on deployments" not in plan, plan
    # One environment has no deployment: looking for its latest in the order of time would read those of all others.
    latest = next(plan for plan in plans if "on projects_environment" in plan and "SubPlan" in plan)
    assert latest.count("deployments_by_start") == 2, latest
    assert "deployments_by_time" not in latest, latest


def test_the_headline_names_the_environments_in_trouble(browser_of, environment):
    for number in range(4):
        place = make_environment(project=environment.project, name=f"broken-{number}")
        make_verdict(make_deployment(environment=place, state=State.FINISHED), verdict="rollback_recommended")
    where = elements(browser_of.get(OVERVIEW), "ul.standing-where li")
    assert len(where) == 3
    assert all("broken-" in words(one) for one in where)
    assert all("/dashboard/deployments/" in elements(one, "a")[0].get("href") for one in where)


@pytest.mark.django_db
@pytest.mark.environment(role=Role.ADMIN)
def test_the_first_steps_know_sources_and_lead_to_a_verdict_without_a_pipeline(browser_of, environment) -> None:
    without = browser_of.get(OVERVIEW)
    shows(without, "The service shows five metrics", without=["verify the service now"])
    config = {"url": "https://prometheus.example", "expressions": {"error_rate": "errors"}}
    add_source(environment, "prometheus", config)
    page = browser_of.get(OVERVIEW)
    shows(page, "Something measures it, and answers", "It is set, but no sample came in the last 30 days")
    assert elements(page, f'a[href="/dashboard/environments/{environment.pk}/#verify"]')
