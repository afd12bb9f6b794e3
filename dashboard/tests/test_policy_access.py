"""Access to projects and policies by role, and hostile input to their pages."""

from __future__ import annotations

import html

import pytest

from accounts.models import Role, User
from dashboard.tests import scenes
from dashboard.tests.pages import (
    address,
    as_role,
    elements,
    exclude,
    filled_in,
    has,
    moment,
    page_of,
    project_page_of,
    words,
)
from deployments.models import Deployment
from projects.models import Environment
from projects.policy import policy_from_dict

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment(user: User) -> Environment:
    return scenes.environment_of(user, role=Role.OWNER, metrics_endpoint="https://shop.example.com/ds-metrics")


# --- who may do what -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.MEMBER, 200), (Role.OWNER, 200), (None, 404)])
def test_members_may_replay_a_policy_that_they_may_not_save(browser_of, environment, role, status):
    data = {**filled_in(browser_of, environment), "sensitivity": "low", "do": "replay"}
    assert as_role(environment, role).post(page_of(environment), data).status_code == status


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
    has(body, *(f'href="{path}"' for path in (page_of(environment), project_page_of(environment))))
