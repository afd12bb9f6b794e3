"""The list of projects, new ones, their pages, settings, keys and end."""

import hashlib
import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Role, Team, User
from analysis.models import DeploymentVerdict, VerdictName
from analysis.services import give_feedback
from dashboard.tests import scenes
from dashboard.tests.pages import (
    HOSTILE,
    as_role,
    elements,
    form_with,
    fresh,
    has,
    markup,
    page_of,
    same_queries,
    shows,
    words,
)
from deployments.models import State
from projects.models import ApiKey, Environment, Project
from tests.concurrency import at_once
from tests.factories import (
    make_api_key,
    make_deployment,
    make_environment,
    make_membership,
    make_project,
    make_samples,
    make_team,
    make_user,
    make_verdict,
)

pytestmark = [pytest.mark.django_db, pytest.mark.environment(role=Role.OWNER)]

LIST, NEW = "/dashboard/projects/", "/dashboard/projects/new/"
TEXTS = [*HOSTILE, "x" * 50_000]
KEY = re.compile(r"sp_[A-Za-z0-9_-]{43}")


@pytest.fixture
def project(environment: Environment) -> Project:
    return environment.project


def of(project: Project, rest: str = "") -> str:
    return f"{LIST}{project.uuid}/{rest}"


# --- the list


def test_the_list_shows_the_users_projects_with_the_last_status_of_each_environment(browser_of, environment):
    for verdict in (VerdictName.OK, VerdictName.ROLLBACK_RECOMMENDED):
        make_verdict(make_deployment(environment=environment, state=State.FINISHED), verdict=verdict)
    make_environment(project=environment.project, name="staging", metrics_endpoint="http://x.example/")
    make_environment(project=environment.project, name="bare")
    make_project(name="of another team")
    text = words(browser_of.get(LIST))
    assert f"shop {environment.project.team}" in text
    assert re.search(r"bare not measured yet prod Rollback recommended .* staging no deployment yet", text)
    assert "of another team" not in text


def test_archived_projects_and_those_of_another_name_are_behind_a_filter(browser_of, project):
    make_project(team=project.team, name="old one", archived_at=timezone.now())
    make_project(team=project.team, name="search")
    shows(browser_of.get(LIST), "shop", "Archived (1)", without=["old one"])
    shows(browser_of.get(LIST, {"show": "archived"}), "old one", without=["shop"])
    shows(browser_of.get(LIST, {"q": "SEAR"}), "search", without=["shop"])
    assert "No project of this name" in words(browser_of.get(LIST, {"q": "%"}))


@pytest.mark.parametrize("value", [*TEXTS, "-1", "9" * 5000, "٣", "archived'"])
def test_the_list_takes_every_query(browser_of, project, value):
    for name in ("q", "show", "page"):
        assert browser_of.get(LIST, {name: value}).status_code == 200


def test_the_list_has_pages_and_the_same_queries_however_many_projects(browser_of, environment):
    def add() -> None:
        made = make_project(team=environment.project.team, name=f"project {Project.objects.count() - 1:02}")
        make_deployment(environment=make_environment(project=made))

    make_deployment(environment=environment)
    # Session, user, count, projects, their environments, last deployments, archived projects, teams.
    same_queries(browser_of, add, {LIST: 8}, more=59)
    first, second = (words(browser_of.get(LIST, {"page": page})) for page in ("1", "2"))
    assert "project 00" in first
    assert "shop" not in first
    assert "shop" in second


def test_without_a_project_the_list_leads_on_for_those_who_may_make_one():
    client, viewer = Client(), Client()
    client.force_login(make_membership(role=Role.ADMIN).user)
    viewer.force_login(make_membership(role=Role.VIEWER).user)
    assert f'href="{NEW}"' in client.get(LIST).content.decode()
    assert NEW not in viewer.get(LIST).content.decode()
    assert "Owners and admins of your team may create one; ask one of them." in words(viewer.get(LIST))


def test_projects_overview_and_deployments_show_the_same_first_steps(browser_of):
    pages = [browser_of.get(page) for page in (LIST, "/dashboard/", "/dashboard/deployments/")]
    assert len({markup(elements(page, "ol.steps")[0]) for page in pages}) == 1
    assert all(elements(page, f'ol.steps [href="{NEW}"]') for page in pages)


# --- a new one


def made_with(client: Client, of_team: Team, **fields: Any) -> Any:
    return client.post(NEW, {"team": of_team.pk, "name": "search", "environment": "prod", "endpoint": "", **fields})


def test_a_new_project_shows_its_key_and_secret_this_once(browser_of, user, project):
    url = "https://search.example.com/ds-metrics"
    answer = made_with(browser_of, project.team, endpoint=url, signed="on")
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    body = answer.content.decode()
    [key] = set(KEY.findall(body))
    made = Project.objects.get(name="search")
    found = ApiKey.objects.matching(key).get()
    assert (found.project, found.created_by) == (made, user)
    environment = made.environments.get()
    assert environment.metrics_endpoint == url
    assert environment.hmac_secret.open() in body
    assert f"/dashboard/projects/{made.uuid}/integration/?environment={environment.pk}" in body
    for page in (LIST, of(made), of(made, "keys/"), of(made, "settings/"), of(made, "integration/")):
        has(browser_of.get(page), without=[key, environment.hmac_secret.open(), environment.hmac_secret.token])


def test_only_teams_in_which_the_user_may_make_projects_are_offered(browser_of, user, project):
    seen, foreign = make_membership(user=user, role=Role.MEMBER).team, make_team()
    for team in (seen, foreign):
        shows(made_with(browser_of, team), "Select a valid choice")
    assert Project.objects.count() == 1
    for role in (Role.MEMBER, Role.VIEWER):
        assert as_role(make_environment(project=project), role).get(NEW).status_code == 403


def first_project(client: Client, name: str = "search", **fields: Any) -> Any:
    return client.post(NEW, {"team_name": "Ada's", "name": name, "environment": "prod", "endpoint": "", **fields})


@pytest.mark.parametrize("is_superuser", [False, True])
def test_the_first_project_of_a_user_without_a_team_makes_the_team(browser_of, user, is_superuser):
    User.objects.update(is_superuser=is_superuser)
    if not is_superuser:
        make_membership()
    assert form_with('[name="team_name"]', browser_of.get(NEW))["team_name"] == "Team of ada"
    assert first_project(browser_of).status_code == 200
    made = Project.objects.get(name="search")
    member = made.team.memberships.get()
    assert (made.team.name, member.user, member.role) == ("Ada's", user, Role.OWNER)
    assert 'name="team_name"' not in browser_of.get(NEW).content.decode()


def test_who_is_in_no_team_chooses_one_or_names_a_new_one(browser_of, user):
    project = make_project()
    User.objects.filter(pk=user.pk).update(is_superuser=True)
    page = browser_of.get(NEW)
    assert [one.text for one in elements(page, "select[name=team] option")] == ["A new team", project.team.name]
    filled = {"name": "search", "environment": "prod", "endpoint": ""}
    shows(browser_of.post(NEW, {**filled, "team": "", "team_name": " "}), "A new team needs a name.")
    shows(browser_of.post(NEW, {**filled, "team": "999999", "team_name": "x"}), "Select a valid choice")
    assert not Project.objects.filter(name="search").exists()
    browser_of.post(NEW, {**filled, "team": project.team.pk, "team_name": "Team of ada"})
    assert Project.objects.get(name="search").team == project.team
    browser_of.post(NEW, {**filled, "name": "mail", "team": "", "team_name": "Mail"})
    assert Project.objects.get(name="mail").team.memberships.get(role=Role.OWNER).user == user


def test_who_is_in_one_team_sees_it(browser_of, project):
    page = as_role(make_environment(project=project), Role.OWNER).get(NEW)
    assert [one.text for one in elements(page, "select[name=team] option[selected]")] == [project.team.name]
    assert not elements(page, "[name=team_name]")


def test_a_first_project_that_is_refused_makes_no_team(browser_of):
    assert "only http and https are allowed" in words(first_project(browser_of, endpoint="ftp://nowhere"))
    assert not Team.objects.exists()


def test_a_first_project_sent_twice_makes_one_team_and_one_project(browser_of):
    form = form_with('[name="endpoint"]', browser_of.get(NEW))
    browser_of.post(NEW, {**form, "name": "checkout"})
    assert "This form was sent before." in words(browser_of.post(NEW, {**form, "name": "checkout"}, follow=True))
    first_project(browser_of, "payments")
    assert Team.objects.get().projects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_first_projects_at_once_make_one_team(user):
    def send(name: str) -> int:
        client = Client()
        client.force_login(user)
        answer: int = first_project(client, name).status_code
        return answer

    names = ("search", "shop", "mail")
    assert at_once(3, lambda number: send(names[number])) == [200] * 3
    assert Team.objects.get().projects.count() == 3


def test_a_name_that_is_taken_is_refused_at_the_field_and_the_rest_is_kept(browser_of, project):
    answer = made_with(browser_of, project.team, name="SHOP", environment="staging")
    assert "The team has a project of this name already." in words(answer)
    assert 'value="staging"' in answer.content.decode()
    assert Project.objects.count() == 1


@pytest.mark.parametrize("field", ["name", "environment", "endpoint", "team"])
@pytest.mark.parametrize(
    "value", [*TEXTS, "ftp://x/", "http://user:pw@host/", "http://[::1", "<script>alert(1)</script>"]
)
def test_a_new_project_takes_every_hostile_value(browser_of, project, field, value):
    answer = made_with(browser_of, project.team, **{field: value})
    has(answer, without=["<script>alert(1)"])
    if Project.objects.count() == 1:
        assert "field-error" in answer.content.decode()


# --- settings


def sent(client: Client, project: Project, **fields: str) -> Any:
    given = {"name": project.name, "window_minutes": "", "retention_days": "", "adopt_endpoints": "on"}
    return client.post(of(project, "settings/"), {**given, **fields})


def test_name_window_and_retention_are_saved_within_the_plan(browser_of, project):
    assert sent(browser_of, project, name="checkout", window_minutes="3", retention_days="2").status_code == 302
    project.refresh_from_db()
    assert (project.name, project.effective_window_minutes, project.effective_retention_days) == ("checkout", 3, 2)
    for field, value in (("window_minutes", "6"), ("retention_days", "8")):
        answer = sent(browser_of, project, name="other", **{field: value})
        assert "is possible." in words(answer)
        assert 'value="other"' in answer.content.decode()
    assert fresh(project).name == "checkout"


def test_an_old_page_saves_what_was_changed_on_it_and_nothing_else(browser_of, project):
    Project.objects.filter(pk=project.pk).update(retention_days=3)
    page = form_with('[name="window_minutes"]', browser_of.get(of(project, "settings/")))
    assert page["retention_days"] == page["initial-retention_days"] == "3"
    Project.objects.filter(pk=project.pk).update(retention_days=6, adopt_endpoints=False)
    assert browser_of.post(of(project, "settings/"), {**page, "name": "checkout"}).status_code == 302
    assert (fresh(project).name, project.retention_days, project.adopt_endpoints) == ("checkout", 6, False)
    page = form_with('[name="window_minutes"]', browser_of.get(of(project, "settings/")))
    assert browser_of.post(of(project, "settings/"), {**page, "retention_days": ""}).status_code == 302
    assert (fresh(project).name, project.retention_days, project.adopt_endpoints) == ("checkout", None, False)


@pytest.mark.parametrize("field", ["name", "window_minutes", "retention_days"])
@pytest.mark.parametrize("value", ["\0", "-1", "0", "1.5", "1e3", "9" * 500, "x" * 5000, "a\nb"])
def test_settings_take_every_hostile_value(browser_of, project, field, value):
    assert sent(browser_of, project, **{field: value}).status_code in (200, 302)


def test_a_rename_to_a_taken_name_is_refused_and_the_page_keeps_the_old_name(browser_of, project):
    make_project(team=project.team, name="Search")
    answer = sent(browser_of, project, name="search")
    assert "The team has a project of this name already." in words(answer)
    assert "<title>Settings · shop" in " ".join(answer.content.decode().split())


def test_only_a_superuser_changes_the_plan(browser_of, project):
    assert browser_of.post(of(project, "settings/plan/"), {"plan": "enterprise"}).status_code == 403
    assert "The operators of this SeqPulse may change it." in words(browser_of.get(of(project, "settings/")))
    operator = Client()
    operator.force_login(make_user(is_superuser=True))
    assert operator.post(of(project, "settings/plan/"), {"plan": "pro"}).status_code == 302
    sent(operator, project, window_minutes="9", retention_days="20")
    assert operator.post(of(project, "settings/plan/"), {"plan": "free"}).status_code == 302
    assert (fresh(project).plan, project.effective_window_minutes, project.effective_retention_days) == ("free", 5, 7)
    shows(operator.post(of(project, "settings/plan/"), {"plan": "gold"}), "Select a valid choice")


def test_an_environment_is_added_once_per_name(browser_of, project):
    url = "https://shop.example.com/ds-metrics"
    answer = browser_of.post(of(project, "environments/"), {"new-environment": "staging", "new-endpoint": url})
    made = Environment.objects.get(name="staging")
    assert answer.url == f"/dashboard/environments/{made.pk}/settings/"
    assert made.metrics_endpoint == url
    again = browser_of.post(of(project, "environments/"), {"new-environment": "staging", "new-endpoint": "http://y/"})
    assert "The project has an environment of this name already." in words(again)
    assert 'value="http://y/"' in again.content.decode()
    bad = browser_of.post(of(project, "environments/"), {"new-environment": "x", "new-endpoint": "ftp://x"})
    assert "only http and https are allowed" in words(bad)


def test_archiving_and_taking_back(browser_of, project):
    for _ in range(2):
        assert browser_of.post(of(project, "settings/archive/")).status_code == 302
        assert fresh(project).is_archived
    assert "This project is archived" in words(browser_of.get(of(project, "settings/")))
    assert "Archived" in words(browser_of.get(of(project)))
    for _ in range(2):
        assert browser_of.post(of(project, "settings/unarchive/")).status_code == 302
        assert not fresh(project).is_archived


def test_a_project_goes_only_by_its_typed_name(browser_of, environment, project):
    make_samples(make_deployment(environment=environment, state=State.FINISHED, window_samples=5))
    page = of(project, "settings/delete/")
    shows(browser_of.get(page), "1 deployment with its verdict and hints", "6 samples")
    for typed in [*TEXTS, "Shop", "shop2"]:
        answer = browser_of.post(page, {"typed": typed})
        assert answer.status_code == 200
        assert Project.objects.not_deleted().count() == 1
    assert "This is not its name" in words(answer)
    shows(browser_of.post(page, {"typed": " shop "}, follow=True), "The project “shop” is deleted")
    assert not Project.objects.not_deleted().exists()
    for path in ("", "settings/", "keys/", "integration/", "settings/delete/"):
        assert browser_of.get(of(project, path)).status_code == 404
    assert browser_of.get(f"/dashboard/environments/{environment.pk}/settings/").status_code == 404


def test_what_would_go_is_counted_up_to_a_bound(browser_of, environment, project, monkeypatch):
    monkeypatch.setattr("dashboard.projects.queries.COUNTED_UP_TO", 3)
    monkeypatch.setattr("dashboard.projects.settings.COUNTED_UP_TO", 3)
    make_samples(make_deployment(environment=environment, state=State.FINISHED, window_samples=5))
    assert "more than 3 samples" in words(browser_of.get(of(project, "settings/delete/")))


# --- keys


def test_a_new_key_is_shown_once_and_listed_by_its_first_characters(browser_of, user, project):
    answer = browser_of.post(of(project, "keys/"), {"name": "GitHub <Actions>"})
    assert "no-store" in answer["Cache-Control"]
    [secret] = set(KEY.findall(answer.content.decode()))
    key = ApiKey.objects.matching(secret).get()
    assert (key.name, key.created_by) == ("GitHub <Actions>", user)
    page = browser_of.get(of(project, "keys/"))
    has(page, without=[secret, key.key_hash])
    assert f"GitHub <Actions> Begins with {key.prefix}… Made just now ada Last used never" in words(page)


def test_a_form_that_is_sent_again_makes_no_second_key(browser_of, project):
    form = form_with('[name="name"]', browser_of.get(of(project, "keys/")))
    assert len(form["sent"]) > 20
    assert KEY.findall(browser_of.post(of(project, "keys/"), {**form, "name": "ci"}).content.decode())
    again = browser_of.post(of(project, "keys/"), {**form, "name": "ci"}, follow=True)
    assert "This key was made already and shown once." in words(again)
    assert ApiKey.objects.filter(project=project).count() == 1
    other = form_with('[name="name"]', again)
    assert browser_of.post(of(project, "keys/"), {**other, "name": "ci"}).status_code == 200
    assert ApiKey.objects.filter(project=project).count() == 2


def test_a_new_project_whose_form_is_sent_again_leads_to_its_keys(browser_of, user, project):
    form = form_with('[name="endpoint"]', browser_of.get(NEW))
    browser_of.post(NEW, {**form, "name": "checkout"})
    again = browser_of.post(NEW, {**form, "name": "checkout"}, follow=True)
    assert again.redirect_chain == [(of(Project.objects.get(name="checkout"), "keys/"), 302)]
    assert "This form was sent before" in words(again)


def test_a_revoked_key_ends_at_once_and_stays_listed(browser_of, project):
    key, secret = make_api_key(project=project, last_used_at=timezone.now() - timedelta(days=3))
    assert "3 d ago" in words(browser_of.get(of(project, "keys/")))
    for _ in range(2):
        assert browser_of.post(of(project, f"keys/{key.pk}/revoke/")).status_code == 302
    assert Client().get("/deployments", headers={"X-API-Key": secret}).status_code == 401
    shows(browser_of.get(of(project, "keys/")), "Revoked", without=["Revoke now"])


def test_keys_of_another_project_are_not_found(browser_of, project):
    key, _ = make_api_key()
    for pk in (key.pk, 10**30, 0):
        assert browser_of.post(of(project, f"keys/{pk}/revoke/")).status_code == 404
    assert fresh(key).revoked_at is None


@pytest.mark.parametrize("value", TEXTS)
def test_the_name_of_a_key_takes_every_hostile_value(browser_of, project, value):
    answer = browser_of.post(of(project, "keys/"), {"name": value})
    assert answer.status_code == 200
    assert ("field-error" in answer.content.decode()) == (not ApiKey.objects.exists())


# --- who may what

READ = ("", "settings/", "keys/", "integration/")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
@pytest.mark.parametrize("path", [f"{LIST}{{}}/settings/", f"{LIST}{{}}/keys/", "/dashboard/environments/{}/settings/"])
def test_who_may_change_nothing_is_offered_no_form(environment, role, path):
    page = as_role(environment, role).get(path.format(environment.project.uuid if LIST in path else environment.pk))
    assert [form.get("action") for form in elements(page, "form[action]")] == [
        "/accounts/logout/",
        "/dashboard/search/",
    ]


# --- the client


def test_the_integration_page_shows_the_hash_of_the_client_that_is_served(environment):
    viewer = as_role(environment, Role.VIEWER)
    served = Client().get("/cli/seqpulse.py")
    digest = hashlib.sha256(served.content).hexdigest()
    assert served.headers["Cache-Control"] == "public, max-age=300, must-revalidate"
    assert "Set-Cookie" not in served.headers
    body = viewer.get(of(environment.project, "integration/")).content.decode()
    assert f'<code class="digest">{digest}</code>' in body
    assert 'href="/cli/seqpulse.py"' in body


# --- all of them


def test_pages_show_names_as_text(browser_of, user):
    name = '<img src=x onerror="alert(1)">{{7*7}}'
    environment = scenes.environment_of(user, role=Role.OWNER, project=name, name=name)
    project = environment.project
    make_api_key(project=project, name=name)
    pages = [LIST, NEW, *(of(project, path) for path in (*READ, "settings/delete/"))]
    pages += [f"/dashboard/environments/{environment.pk}/settings/{rest}" for rest in ("", "delete/")]
    for page in pages:
        body = browser_of.get(page).content.decode()
        assert "<img src=x" not in body
        assert page == NEW or name in html.unescape(body)


# --- the page of a project ---


def test_a_project_shows_its_environments_with_their_last_verdicts(browser_of, environment):
    staging = make_environment(project=environment.project, name="staging")
    make_environment(project=environment.project, name="empty")
    make_verdict(make_deployment(environment=environment, state=State.FINISHED), verdict=VerdictName.OK)
    make_verdict(make_deployment(environment=environment, state=State.FINISHED), verdict=VerdictName.WARNING)
    make_deployment(environment=staging, state=State.RUNNING)
    make_deployment(branch="of-another-project")
    page = browser_of.get(of(environment.project))
    rows = [words(row) for row in elements(page, 'tr[role="row"]')[1:]]
    assert [row.split()[0] for row in rows] == ["empty", "prod", "staging"]
    assert "none yet" in rows[0]
    assert "Warning #2" in rows[1]
    assert "Deploying #3" in rows[2]
    has(page, *(f'href="{page_of(one)}"' for one in (environment, staging)))


def test_the_hit_rate_counts_marked_verdicts_ever_and_of_the_last_month(browser_of, environment, user):
    old = timezone.now() - timedelta(days=31)
    for right, when in ((True, None), (False, None), (True, old), (True, old), (None, None)):
        verdict = make_verdict(make_deployment(environment=environment, state=State.FINISHED))
        if when is not None:
            DeploymentVerdict.objects.filter(pk=verdict.pk).update(created_at=when)
        if right is not None:
            give_feedback(verdict, right=right, by=user)
    text = words(browser_of.get(of(environment.project)))
    assert "Verdicts that were right 75 % 3 right of 4 marked" in text
    assert "Verdicts that were right, last 30 days 50 % 1 right of 2 marked" in text
    assert "Verdicts in 30 days 3 OK: 3 Warning: 0 Rollback recommended: 0" in text


def test_without_any_mark_no_hit_rate_is_claimed(browser_of, environment):
    make_verdict(make_deployment(environment=environment, state=State.FINISHED))
    text = words(browser_of.get(of(environment.project)))
    shows(text, "No verdict is marked yet", "Verdicts that were right, last 30 days – none marked")


def test_a_project_takes_the_same_queries_however_many_environments(browser_of, environment, user):
    def add() -> None:
        place = make_environment(project=environment.project)
        verdict = make_verdict(make_deployment(environment=place, state=State.FINISHED))
        give_feedback(verdict, right=True, by=user)

    # Session, user, project, its environments, their last deployments, marks and verdicts; role, freezes.
    same_queries(browser_of, add, {of(environment.project): 9})
