"""Access to projects and policies by role, and hostile input to their pages."""

from __future__ import annotations

import html
from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Role, User
from accounts.tests.factories import make_user
from dashboard.tests import scenes
from dashboard.tests.pages import (
    address,
    as_role,
    elements,
    exclude,
    filled_in,
    moment,
    page_of,
    project_page_of,
    send,
    words,
)
from deployments.models import Deployment
from projects.models import Environment, ExcludedWindow, PolicyVersion
from projects.policy import policy_from_dict
from projects.tests.factories import make_environment

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment(user: User) -> Environment:
    return scenes.environment_of(user, role=Role.OWNER, metrics_endpoint="https://shop.example.com/ds-metrics")


# --- who may do what -----------------------------------------------------------------------------------------------

ROLES = {
    Role.VIEWER: {"look": 200, "replay": 403, "save": 403, "exclude": 403, "include": 403},
    Role.MEMBER: {"look": 200, "replay": 200, "save": 403, "exclude": 403, "include": 403},
    Role.ADMIN: {"look": 200, "replay": 200, "save": 302, "exclude": 302, "include": 302},
    Role.OWNER: {"look": 200, "replay": 200, "save": 302, "exclude": 302, "include": 302},
    None: dict.fromkeys(("look", "replay", "save", "exclude", "include"), 404),
}


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_each_role_may_do_what_the_table_says(browser_of, environment, role):
    data = {**filled_in(browser_of, environment), "sensitivity": "low"}
    now = timezone.now()
    window = ExcludedWindow.objects.create(environment=environment, starts_at=now, ends_at=now + timedelta(hours=1))
    client = as_role(environment, role)
    removed = client.post(f"/dashboard/environments/{environment.pk}/windows/{window.pk}/remove/").status_code
    done = {
        "look": client.get(page_of(environment)).status_code,
        "replay": client.post(page_of(environment), {**data, "do": "replay"}).status_code,
        "save": client.post(page_of(environment), {**data, "do": "save"}).status_code,
        "exclude": exclude(client, environment, starts_at=moment(hours=2), ends_at=moment(hours=1)).status_code,
        "include": removed,
    }
    assert done == ROLES[role]
    assert client.get(project_page_of(environment)).status_code == ROLES[role]["look"]
    # What was refused was not done, either.
    environment.refresh_from_db()
    assert (environment.policy != {}) is (ROLES[role]["save"] == 302)
    assert ExcludedWindow.objects.filter(pk=window.pk).exists() is (ROLES[role]["include"] != 302)
    assert ExcludedWindow.objects.exclude(pk=window.pk).exists() is (ROLES[role]["exclude"] == 302)


@pytest.mark.parametrize(
    ("role", "buttons"),
    [
        (Role.VIEWER, []),
        (Role.MEMBER, ["Replay with these settings"]),
        (Role.ADMIN, ["Save", "Replay with these settings", "Take this time out"]),
    ],
)
def test_a_person_is_offered_only_what_she_may_do(environment, role, buttons):
    page = as_role(environment, role).get(page_of(environment))
    assert [words(button) for button in elements(page, "button.button:not(.danger):not(.quiet)")] == buttons
    assert bool(elements(page, "[disabled]")) is (role == Role.VIEWER)


def test_a_superuser_may_do_everything_for_any_team(environment, client):
    client.force_login(make_user(is_superuser=True))
    assert send(client, environment, sensitivity="low").status_code == 302


@pytest.mark.parametrize("suffix", ["policy/", "windows/", "windows/1/remove/"])
def test_a_foreign_environment_answers_as_an_unknown_one(browser_of, environment, suffix):
    foreign = make_environment()
    ask = browser_of.get if suffix == "policy/" else browser_of.post
    answers = [ask(f"/dashboard/environments/{pk}/{suffix}") for pk in (foreign.pk, 2**31, 2**70)]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_a_foreign_project_answers_as_an_unknown_one(browser_of, environment):
    foreign = make_environment().project.uuid
    one, other = (browser_of.get(f"/dashboard/projects/{uuid}/") for uuid in (foreign, uuid4()))
    assert one.status_code == other.status_code == 404
    assert one.content == other.content


def test_the_pages_ask_for_a_login_and_forms_for_their_token(client, environment):
    for path in (page_of(environment), project_page_of(environment)):
        assert client.get(path)["Location"].startswith("/accounts/login/?next=")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user(is_superuser=True))
    assert strict.post(page_of(environment), {"kind": "fixed", "do": "save"}).status_code == 403
    assert exclude(strict, environment, starts_at=moment(hours=2), ends_at=moment(hours=1)).status_code == 403
    assert not PolicyVersion.objects.exists()


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_refused(browser_of, environment, method):
    for path in (page_of(environment), project_page_of(environment), f"{page_of(environment)[:-7]}windows/"):
        assert getattr(browser_of, method)(path).status_code == 405


# --- hostile input -------------------------------------------------------------------------------------------------

HOSTILE = [
    "",
    "\x00",
    "a\x00b",
    "é\u202e",
    "-1",
    "-0",
    "1e400",
    "1e-999999999",
    "1e999999999",
    "NaN",
    "-Infinity",
    "9" * 5000,
    "0." + "0" * 4000 + "1",
    "x" * 5000,
    "' OR 1=1",
    "[]",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "٣",
    "1,5",
    "0x10",
]
# One of each sort; which of the two policies a field belongs to is in its name.
FIELDS = [
    "kind",
    "sensitivity",
    "warmup_samples",
    "limits.requests_per_sec",
    "limits.error_rate",
    "left_out.cpu_usage",
    "fixed.latency_p95.limit",
    "fixed.secured_factor",
    "do",
]


@pytest.mark.parametrize("field", FIELDS)
def test_every_sort_of_field_takes_every_hostile_value(browser_of, environment, field):
    data = {**filled_in(browser_of, environment), "kind": "fixed" if field.startswith("fixed.") else "adaptive"}
    for text in HOSTILE:
        answer = browser_of.post(page_of(environment), {**data, "do": "save", "seen": "", field: text})
        assert answer.status_code in (200, 302, 400), text
        assert "<script>alert(1)" not in answer.content.decode()
        environment.refresh_from_db()
        policy_from_dict(environment.policy)
    assert browser_of.get(page_of(environment)).status_code == 200


@pytest.mark.parametrize("do", ["save", "replay"])
def test_all_fields_at_once_take_every_hostile_value(browser_of, environment, do):
    names = [field.get("name") for field in elements(browser_of.get(page_of(environment)), "[name]")]
    for text in HOSTILE:
        data = {**dict.fromkeys(names, text), "kind": "adaptive", "do": do}
        assert browser_of.post(page_of(environment), data).status_code in (200, 302), text
    assert browser_of.get(page_of(environment)).status_code == 200


@pytest.mark.parametrize("data", [{}, {"do": "save"}, {"do": ["save", "replay"]}, {"kind": ["fixed", "adaptive"]}])
def test_a_form_with_fields_missing_or_doubled_never_breaks(browser_of, environment, data):
    assert browser_of.post(page_of(environment), data).status_code in (200, 302, 400)
    assert browser_of.get(page_of(environment)).status_code == 200


def test_a_huge_form_is_refused(browser_of, environment):
    data = {"do": "save", **{f"limits.{number}": "1" for number in range(2000)}}
    assert browser_of.post(page_of(environment), data).status_code == 400
    assert browser_of.post(page_of(environment), {"do": "save", "kind": "x" * 1_200_000}).status_code in (200, 400, 413)


@pytest.mark.parametrize("field", ["starts_at", "ends_at", "reason"])
def test_every_field_of_a_window_takes_every_hostile_value(browser_of, environment, field):
    good = {"starts_at": moment(hours=2), "ends_at": moment(hours=1)}
    for text in [*HOSTILE, "0001-01-01T00:00", "9999-12-31T23:59:59.999999-23:59", "2026-01-01T00:00+99:99"]:
        answer = exclude(browser_of, environment, **{**good, field: text})
        assert answer.status_code in (200, 302), text
    assert "<script>alert(1)" not in browser_of.get(page_of(environment)).content.decode()


@pytest.mark.parametrize("bad", ["x", "-1", "%00", "1e3", "9" * 5000, "٣"])
def test_bad_ids_are_not_found(browser_of, environment, bad):
    for path in (f"/dashboard/environments/{bad}/policy/", f"/dashboard/projects/{bad}/"):
        assert browser_of.get(path).status_code == 404
    assert browser_of.post(f"/dashboard/environments/{environment.pk}/windows/{bad}/remove/").status_code in (302, 404)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b\\c\u007f', "{{7*7}}", "x" * 100])
def test_a_hostile_name_of_an_environment_is_shown_as_text(browser_of, user, name):
    environment = scenes.environment_of(user, role=Role.OWNER, project="other", name=name)
    for path in (page_of(environment), project_page_of(environment)):
        body = browser_of.get(path).content.decode()
        assert "<script>alert(1)" not in body
        assert name in html.unescape(body)


def test_a_deployment_leads_to_its_project_and_its_policy(browser_of, environment):
    deployment: Deployment = scenes.judged(environment)
    body = browser_of.get(address(deployment)).content.decode()
    for path in (page_of(environment), project_page_of(environment)):
        assert f'href="{path}"' in body
