"""The pages as a browser without JavaScript gets them."""

import json
import re

import pytest
from django.template.loader import get_template
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from analysis.models import Severity, VerdictName
from dashboard.keyset import PAGE_SIZE
from dashboard.tests import scenes
from dashboard.tests.pages import LIST, address, elements, figure, has, markup, queries_of, same_queries, shows, words
from deployments.models import NEVER_JUDGED, Deployment, State
from explain.rendering import quantity
from projects.models import Environment, Project
from projects.services import set_policy
from tests.factories import (
    PASSWORD,
    make_deployment,
    make_environment,
    make_hint,
    make_project,
    make_samples,
    make_user,
    make_verdict,
)

pytestmark = pytest.mark.django_db

LOGIN, OVERVIEW = "/accounts/login/", "/dashboard/"
# The same in every process, because it is part of test names.
NOBODYS = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}{% x %}"


# --- who gets in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/login", "/dashboard", "/dashboard/deployments", "/dashboard/deployments/live"])
def test_a_page_answers_without_its_trailing_slash(browser_of, path):
    assert browser_of.get(path).status_code in (200, 302)


def test_signing_in_leads_to_the_overview(client, user):
    response = client.post(LOGIN, {"login": "ada", "password": PASSWORD})
    assert (response.status_code, response["Location"]) == (302, OVERVIEW)


def test_a_wrong_password_is_refused_without_saying_which_part_is_wrong(client, user):
    known = client.post(LOGIN, {"login": "ada", "password": "wrong"})
    unknown = client.post(LOGIN, {"login": "nobody", "password": "wrong"})
    assert known.status_code == unknown.status_code == 200
    notices = [[markup(notice) for notice in elements(page, '[role="alert"]')] for page in (known, unknown)]
    assert notices[0] == notices[1] != []


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
def test_signing_in_never_leads_elsewhere(client, user, target):
    assert client.post(LOGIN, {"login": "ada", "password": PASSWORD, "next": target})["Location"] == OVERVIEW


def test_an_address_to_go_on_to_sets_no_cookie(client, user):
    response = client.post(LOGIN, {"login": "ada", "password": PASSWORD, "next": "/\x00\r\nSet-Cookie: a=b"})
    assert response.status_code in (200, 302, 400)
    assert "a" not in response.cookies


def test_signing_out_needs_a_post(browser_of):
    for path in ("/accounts/logout/", "/logout/"):
        assert browser_of.get(path, follow=True).status_code == 200
        assert browser_of.get(LIST).status_code == 200
    assert browser_of.post("/logout/").status_code == 405
    assert browser_of.post("/accounts/logout/")["Location"] == LOGIN
    assert browser_of.get(LIST).status_code == 302


@pytest.mark.parametrize(("old", "new"), [("/login/", LOGIN), ("/login", LOGIN), ("/logout/", "/accounts/logout/")])
def test_old_addresses_lead_to_the_new_ones(client, old, new):
    assert client.get(old)["Location"] == new


def test_an_old_link_to_the_login_keeps_where_it_leads(client):
    assert client.get("/login/?next=/dashboard/hints/")["Location"] == f"{LOGIN}?next=/dashboard/hints/"


def test_the_admin_signs_in_where_everybody_does(client, user):
    for send in (client.get, client.post):
        answer = send("/admin/login/?next=/admin/", {"username": "ada", "password": PASSWORD})
        assert answer["Location"].startswith(f"{LOGIN}?next=")
    assert "_auth_user_id" not in client.session
    client.force_login(user)
    assert client.get("/admin/login/").status_code == 403


def test_pages_are_not_kept_by_caches(browser_of):
    assert "no-store" in browser_of.get(LIST)["Cache-Control"]


# --- the list ------------------------------------------------------------------------------------------------------


def test_the_list_shows_my_deployments_newest_first(browser_of, environment):
    for _ in range(3):
        make_deployment(environment=environment, state=State.FINISHED)
    make_deployment()
    assert [words(cell) for cell in elements(browser_of.get(LIST), ".cell-number")] == ["#3", "#2", "#1"]


def test_another_teams_deployments_are_not_listed(browser_of, environment):
    make_deployment(branch="their-secret-branch")
    assert "their-secret-branch" not in browser_of.get(LIST).content.decode()


def test_a_superuser_sees_all_projects(client):
    make_deployment(branch="of-some-team")
    client.force_login(make_user(is_superuser=True))
    assert "of-some-team" in words(client.get(LIST))


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (VerdictName.OK, "OK"),
        (VerdictName.WARNING, "Warning"),
        (VerdictName.ROLLBACK_RECOMMENDED, "Rollback recommended"),
    ],
)
def test_a_verdict_is_listed_as_text_and_shape(browser_of, environment, verdict, text):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_verdict(deployment, verdict=verdict, confidence=0.87)
    page = browser_of.get(LIST)
    assert elements(page, "td .badge svg")
    assert words(page, "td .badge") == text
    assert "87 % high" in words(page)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State.PENDING, "Pending"),
        (State.RUNNING, "Deploying"),
        (State.FINISHED, "Under observation"),
        (State.ANALYZED, "No verdict stored"),
    ],
)
def test_without_a_verdict_the_state_is_shown_and_never_ok(browser_of, environment, state, text):
    deployment = make_deployment(environment=environment, state=state)
    # The whole list's page names all verdicts to filter by.
    for path in (f"{LIST}live/", address(deployment)):
        page = browser_of.get(path)
        assert text in words(page)
        has(page, without=['class="badge ok"', 'class="verdict ok"'])
        assert not re.search(r"\b(OK|Keep it)\b", words(page))


def test_progress_is_shown_while_samples_come_in(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_samples(deployment, post=3)
    assert "3 of 5 samples" in words(browser_of.get(LIST))
    assert "3 of 5 samples" in words(browser_of.get(address(deployment)))


def test_a_verdict_that_is_not_conclusive_says_so(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    make_verdict(deployment, verdict=VerdictName.WARNING, conclusive=False, confidence=0.25)
    assert "not conclusive" in words(browser_of.get(LIST))
    shows(browser_of.get(address(deployment)), "Not conclusive", "Confidence: low , 25 %")


def test_paging_shows_every_deployment_once(browser_of, environment):
    for _ in range(PAGE_SIZE * 2 + 3):
        make_deployment(environment=environment, state=State.FINISHED)
    seen: list[int] = []
    path: str | None = LIST
    while path:
        page = browser_of.get(path)
        seen += [int(words(cell).lstrip("#")) for cell in elements(page, ".cell-number")]
        path = next((link.get("href") for link in elements(page, 'a[rel="next"]')), None)
    assert seen == list(range(PAGE_SIZE * 2 + 3, 0, -1))


def test_the_count_and_the_downloads_move_with_the_list(browser_of, environment):
    for count in (1, 2):
        make_verdict(make_deployment(environment=environment, state=State.ANALYZED))
        part = words(browser_of.get(f"{LIST}live/"))
        assert part.startswith(f"{count} deployment{'s' if count > 1 else ''} Download all of them: CSV JSON")


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1e9", "\x00", "9" * 400, "٣", "0"])
def test_a_cursor_that_is_none_does_no_harm(browser_of, environment, cursor):
    make_deployment(environment=environment)
    has(browser_of.get(LIST, {"cursor": cursor}), 'cell-number">#1<')


def test_the_list_takes_the_same_queries_for_one_row_as_for_many(browser_of, environment):
    def add() -> None:
        make_verdict(make_deployment(environment=environment, state=State.FINISHED))
        make_samples(make_deployment(environment=environment, state=State.FINISHED), post=2)

    # Session, user, projects; number of deployments, which of them are shown, content of them, their samples.
    same_queries(browser_of, add, {LIST: 7})


def test_without_a_project_the_list_tells_how_to_make_one(browser_of):
    shows(browser_of.get(LIST), "manage.py create_project", "--owner ada")


def test_without_a_deployment_the_list_tells_what_ci_calls(browser_of, environment):
    make_environment(project=make_project(), name="someone-elses")
    text = words(browser_of.get(LIST, headers={"host": "localhost:8000"}))
    shows(text, "curl -X POST http://localhost:8000/deployments/trigger", '"env": "prod"', without=["someone-elses"])


# --- one deployment ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [f"{LIST}{NOBODYS}/x/", "/%ff/"])
def test_bad_addresses_are_not_found(browser_of, path):
    assert browser_of.get(path).status_code == 404


def test_the_verdict_comes_before_hints_charts_and_checks(browser_of, environment):
    page = browser_of.get(address(scenes.judged(environment, **scenes.BROKEN))).content.decode()
    places = [
        page.index(mark)
        for mark in ('id="verdict-title"', 'id="hints-title"', 'id="charts-title"', 'id="checks-title"')
    ]
    assert places == sorted(places)


def test_a_rollback_shows_its_numbers_hints_and_actions(browser_of, environment):
    deployment = scenes.judged(environment, **scenes.BROKEN)
    text = words(browser_of.get(address(deployment)))
    shows(text, "Rollback recommended", deployment.verdict.summary)
    hints = list(deployment.hints.all())
    assert hints
    for hint in hints:
        for expected in (hint.title, hint.cause, hint.impact, hint.code, *hint.evidence, *hint.actions):
            assert " ".join(expected.split()) in text
    shows(text, *(check["sentence"] for check in deployment.verdict.checks))


def test_all_five_metrics_are_drawn_with_their_samples_and_limits(browser_of, environment):
    set_policy(environment, {"kind": "fixed"}, source="dashboard")
    page = browser_of.get(address(scenes.judged(environment, **scenes.SLOW))).content.decode()
    assert page.count('role="img"') == 5
    assert page.count('class="dot-pre"') == 5 + 1
    assert page.count('class="dot-post"') + page.count('class="dot-over"') == 25 + 2
    # One limit is so far above its metric that it is written out.
    assert page.count('class="limit-line"') == 4 + 1
    assert page.count("(far above)") == 1
    # latency: 310, 355, 402 and 398 ms lie above 270 ms.
    assert page.count('class="dot-over"') == 4 + 1


def test_the_limits_drawn_are_those_that_the_judge_held_the_samples_against(browser_of, environment):
    deployment = scenes.judged(environment, **scenes.SLOW)
    assert deployment.verdict.policy["kind"] == "adaptive"
    latency = next(check for check in deployment.verdict.checks if check["metric"] == "latency_p95")
    over = [value for value in scenes.SLOW["latency_p95"] if value > latency["limit"]]
    chart = figure(browser_of.get(address(deployment)), "latency_p95")
    assert len(elements(chart, ".dot-over")) == len(over) > 0
    details = latency["details"]
    assert latency["limit"] == details["rollback_limit"]
    for name in ("warning", "rollback"):
        assert f"{name} {quantity(details[f'{name}_limit'], 'latency_p95')}" in words(chart)


def test_the_table_of_samples_holds_what_the_charts_show(browser_of, environment):
    table = words(browser_of.get(address(scenes.judged(environment, **scenes.SLOW))), "#samples")
    for value in ("240 ms", "310 ms", "355 ms", "402 ms", "398 ms", "118 ms"):
        assert value in table


def test_missed_samples_are_listed_with_their_reason_those_in_a_row_with_the_same_one_together(browser_of, environment):
    text = words(browser_of.get(address(scenes.poorly_observed(environment))))
    assert "After 3 could not connect to shop.example.com:443: connection refused" in text
    assert "After 4–5 expired: no poller ran in time" in text
    assert "few_post_samples" in text


def test_a_miss_shows_what_the_endpoint_answered_as_text(browser_of, environment):
    deployment = scenes.poorly_observed(environment)
    fact = {"code": "http_4xx", "params": {"status": 404, "url": "http://x/m", "answered": "<b>no such page</b>"}}
    deployment.jobs.filter(sequence_index=3).update(error_fact=fact)
    shows(browser_of.get(address(deployment)), "After 3 HTTP 404 from http://x/m; it answered “<b>no such page</b>”")


def test_misses_are_still_shown_when_their_jobs_are_gone(browser_of, environment):
    deployment = scenes.poorly_observed(environment)
    deployment.jobs.all().delete()
    assert "After 4–5 expired: no poller ran in time" in words(browser_of.get(address(deployment)))


def test_what_never_had_a_finish_tells_of_no_analysis_and_waits_for_no_sample(browser_of, environment):
    for state in NEVER_JUDGED:
        deployment = make_deployment(environment=environment, state=state, finished_at=None)
        text = words(browser_of.get(address(deployment)))
        assert "nothing was observed, and no verdict will come" in text
        assert "The analysis ended" not in text
        assert "to come" not in text
        assert "of 0 samples" not in text


def test_what_is_being_retried_is_shown_while_it_is_observed(browser_of, environment):
    text = words(browser_of.get(address(scenes.half_observed(environment))))
    assert "Being retried After 4 no complete answer from shop.example.com:443 within 5 s (no answer)" in text
    assert "2 of 5 samples · 1 missed" in text


def test_a_deployment_takes_a_fixed_number_of_queries(browser_of, environment):
    small = make_deployment(environment=environment, state=State.FINISHED)
    large = scenes.judged(environment, **scenes.BROKEN)
    make_hint(large)
    for deployment in (small, large):
        # Session, user, role; deployment, its hints, samples, steps and jobs. If it was not good, the
        # last one that was. Without a verdict also what the judge would leave out: deployments that did not end ok,
        # windows excluded by hand.
        assert queries_of(browser_of, f"{address(deployment)}live/") == (9 if deployment == large else 10)
        # The page itself leads to the deployments before and after it.
        assert queries_of(browser_of, address(deployment)) == (10 if deployment == large else 11)


@pytest.mark.parametrize("field", ["branch", "version", "author", "url", "commit_sha"])
def test_hostile_text_from_ci_is_shown_as_text(browser_of, environment, field):
    deployment = make_deployment(environment=environment, state=State.FINISHED, **{field: HOSTILE})
    make_verdict(deployment, summary=HOSTILE)
    make_hint(deployment, title=HOSTILE, cause=HOSTILE, evidence=[HOSTILE], actions=[HOSTILE])
    bodies = [browser_of.get(path).content.decode() for path in (LIST, address(deployment))]
    assert not any("<script>alert" in body for body in bodies)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;{{7*7}}{% x %}" in bodies[1]


@pytest.mark.parametrize(
    ("url", "linked"),
    [
        ("https://ci.example.com/run/1", True),
        ("HTTP://ci.example.com/run/1", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        (" https://ci.example.com", False),
    ],
)
def test_only_web_addresses_become_links(browser_of, environment, url, linked):
    deployment = make_deployment(environment=environment, url=url)
    assert (f'href="{url}" rel="noopener' in browser_of.get(address(deployment)).content.decode()) is linked


def test_values_no_service_has_do_not_break_the_page(browser_of, environment):
    deployment = scenes.judged(
        environment, requests_per_sec=[0.0, 1e308, 1.7e308, 5e-324, 1e22], latency_p95=1e300, error_rate=0.0
    )
    assert browser_of.get(address(deployment)).status_code == 200


def test_the_fragment_says_whether_to_go_on_asking(browser_of, environment):
    deployment = make_deployment(environment=environment, state=State.FINISHED)
    path = reverse("dashboard:deployment-live", args=[deployment.uuid])
    assert 'data-live="running"' in browser_of.get(path).content.decode()
    make_verdict(deployment)
    has(browser_of.get(path), 'data-live="done"', without=["<html"])


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["400.html", "403.html", "403_csrf.html", "404.html", "408.html", "500.html", "503.html", "busy.html"],
)
def test_error_pages_need_no_context_and_no_database(name, django_db_blocker):
    with django_db_blocker.block():
        assert "<h1>" in get_template(name).render()


def test_a_form_without_its_token_is_refused_with_a_page(user):
    strict = Client(enforce_csrf_checks=True)
    shows(strict.post(LOGIN, {"login": "ada", "password": PASSWORD}), "Please try again", status=403)


# --- what is deleted ---


LISTS = ("/dashboard/", LIST, f"{LIST}json/", "/dashboard/hints/")


@pytest.fixture
def judged(environment: Environment) -> Deployment:
    deployment = make_deployment(environment=environment)
    make_verdict(deployment, verdict="rollback_recommended")
    make_hint(deployment, code="cpu_spike", severity=Severity.CRITICAL)
    return deployment


def text_of(browser: Client, path: str) -> str:
    response = browser.get(path)
    assert response.status_code == 200
    return response.getvalue().decode()


def test_a_deleted_environment_is_on_no_page(browser_of: Client, environment: Environment, judged: Deployment) -> None:
    kept = make_deployment(environment=make_environment(project=environment.project, name="kept"))
    make_verdict(kept)
    assert all(str(judged.uuid) in text_of(browser_of, path) for path in LISTS)
    Environment.objects.filter(pk=environment.pk).update(deleting_at=timezone.now(), name="a name that is going")
    for path in LISTS:
        shown = text_of(browser_of, path)
        assert str(judged.uuid) not in shown, path
        assert "a name that is going" not in shown, path
    assert browser_of.get(address(judged)).status_code == 404
    assert browser_of.get(f"{address(kept)}compare/", {"with": str(judged.uuid)}).status_code == 404
    assert str(kept.uuid) in text_of(browser_of, LIST)


def test_a_deleted_project_is_on_no_page_of_a_superuser(
    browser_of: Client, user: User, environment: Environment, judged: Deployment
) -> None:
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    assert str(judged.uuid) in text_of(browser_of, LIST)
    Project.objects.filter(pk=environment.project_id).update(deleting_at=timezone.now())
    assert all(str(judged.uuid) not in text_of(browser_of, path) for path in LISTS)
    assert json.loads(text_of(browser_of, f"{LIST}json/"))["count"] == 0
