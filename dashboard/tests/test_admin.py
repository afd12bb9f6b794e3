"""Django admin: what ops staff can look at, what they can change, and what it does with hostile input."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db.models.signals import pre_save
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Membership, Team, User
from analysis.acknowledging import acknowledge
from analysis.models import Acknowledgement, DeploymentVerdict, Feedback, Hint
from analysis.services import give_feedback
from dashboard.tests import scenes
from dashboard.tests.pages import fresh, has
from deployments.models import Deployment
from metrics.models import MetricSample
from projects.baselines import exclude_window
from projects.models import ApiKey, Environment, ExcludedWindow, PolicyVersion, Project
from projects.policy import policy_from_dict
from projects.services import set_policy
from projects.signing import enable_signing
from scheduler.models import Poller, ScheduledJob
from tests.factories import make_api_key, make_environment, make_hint, make_membership, make_project, make_user

pytestmark = pytest.mark.django_db

OUR_APPS = ("auth", "accounts", "projects", "scheduler", "deployments", "metrics", "analysis")
MACHINE_MADE = (
    ScheduledJob,
    Poller,
    Deployment,
    MetricSample,
    DeploymentVerdict,
    Hint,
    Feedback,
    Acknowledgement,
    PolicyVersion,
)
SECRET = re.compile(r"\b(sphs|sp)_[A-Za-z0-9_-]{40,}")


@pytest.fixture
def environment() -> Environment:
    """An environment with rows of every machine-made model below it."""
    owner = make_user()
    environment = scenes.environment_of(owner)
    judged = scenes.judged(environment, **scenes.BROKEN)
    make_hint(judged)
    give_feedback(judged.verdict, right=True, by=owner)
    acknowledge(judged, "on_it", who=owner.username, via="page", by=owner)
    scenes.half_observed(environment)
    PolicyVersion.objects.create(environment=environment, number=1, policy={}, source="file")
    now = timezone.now()
    exclude_window(environment, now - timedelta(hours=2), now - timedelta(hours=1), by=owner)
    Poller.objects.create(name="poller-1", host="host-1", pid=4711, started_at=now, heartbeat_at=now)
    return environment


def address(model: Any, page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def registered() -> list[Any]:
    return [model for model in admin.site._registry if model._meta.app_label in OUR_APPS]


def run_action(staff: Client, model: Any, action: str, *ids: Any) -> Any:
    return staff.post(address(model, "changelist"), {"action": action, "_selected_action": ids}, follow=True)


# --- looking -------------------------------------------------------------------------------------------------------


def test_every_model_of_ours_is_there(staff, environment):
    expected = {"Group", "User", "Team", "Membership", "Project", "Environment", "ApiKey", "ExcludedWindow"} | {
        model.__name__ for model in MACHINE_MADE
    }
    assert {model.__name__ for model in registered()} == expected


@pytest.mark.parametrize("number", range(17))
def test_list_search_and_page_of_every_model_open(staff, environment, number):
    make_api_key(project=environment.project)
    Group.objects.create(name="ops")
    model = registered()[number]
    assert staff.get(address(model, "changelist")).status_code == 200
    assert staff.get(address(model, "changelist"), {"q": "shop prod"}).status_code == 200
    assert staff.get(address(model, "change", model.objects.latest("pk").pk)).status_code == 200


@pytest.mark.parametrize("model", MACHINE_MADE)
def test_machine_made_rows_are_only_looked_at(staff, environment, model):
    row = model.objects.latest("pk")
    assert staff.get(address(model, "add")).status_code == 403
    assert staff.post(address(model, "change", row.pk), {"state": "pending"}).status_code == 403
    assert staff.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    run_action(staff, model, "delete_selected", row.pk)
    assert model.objects.filter(pk=row.pk).exists()
    assert 'name="_save"' not in staff.get(address(model, "change", row.pk)).content.decode()


@pytest.mark.parametrize("model", [*MACHINE_MADE, Environment, ExcludedWindow])
def test_a_list_takes_the_same_queries_however_many_rows(staff, environment, model, django_assert_max_num_queries):
    now = timezone.now()
    for number in range(3):
        judged = scenes.judged(environment, **scenes.SLOW)
        make_hint(judged)
        give_feedback(judged.verdict, right=False, by=make_user())
        scenes.half_observed(environment)
        other = make_environment()
        set_policy(other, {"limits": {"latency_p95": number}}, source="file", by=make_user())
        exclude_window(other, now - timedelta(hours=2), now - timedelta(hours=1), by=make_user())
    with django_assert_max_num_queries(8):
        assert staff.get(address(model, "changelist")).status_code == 200


# --- deleting what owns machine-made rows --------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Team, Project, Environment])
def test_an_owner_is_deleted_with_all_that_belongs_to_it(staff, environment, model):
    row = model.objects.latest("pk")
    asked = staff.get(address(model, "delete", row.pk)).content.decode()
    assert " Samples: 9" in re.sub(r"<[^>]+>|\s+", " ", asked).replace("  ", " ")
    assert staff.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 302
    assert not any(gone.objects.exists() for gone in (Deployment, MetricSample, DeploymentVerdict, Hint))
    # Jobs of notifications belong to no deployment.
    assert not ScheduledJob.objects.exclude(job_type__in=["fan_out", "refresh_messages"]).exists()


def test_deleting_one_project_leaves_the_others(staff, environment):
    kept = scenes.judged(scenes.environment_of(make_user(), project="kept"))
    run_action(staff, Project, "delete_selected", environment.project.pk)  # asks first
    assert Project.objects.count() == 2
    data = {"action": "delete_selected", "_selected_action": environment.project.pk, "post": "yes"}
    staff.post(address(Project, "changelist"), data)
    assert list(Deployment.objects.all()) == [kept]


# --- keys and secrets ----------------------------------------------------------------------------------------------


def test_a_new_key_is_shown_once_and_works(staff, environment):
    answer = staff.post(address(ApiKey, "add"), {"project": environment.project.pk, "name": "ci"})
    found = SECRET.search(answer.content.decode())
    assert found is not None
    key = ApiKey.objects.matching(found.group(0)).get()
    assert (key.project, key.name) == (environment.project, "ci")
    assert "no-store" in answer["Cache-Control"]
    assert not any(SECRET.search(cookie.value) for cookie in staff.cookies.values())
    for path in (address(ApiKey, "changelist"), address(ApiKey, "change", key.pk), address(ApiKey, "history", key.pk)):
        body = staff.get(path).content.decode()
        assert not SECRET.search(body)
        assert key.key_hash not in body
    assert not any(SECRET.search(entry.change_message) for entry in LogEntry.objects.all())


def test_revoking_ends_a_key(staff, environment):
    key, secret = make_api_key(project=environment.project)
    assert "1 key revoked." in run_action(staff, ApiKey, "revoke_keys", key.pk).content.decode()
    assert not ApiKey.objects.matching(secret).exists()
    assert "0 keys revoked." in run_action(staff, ApiKey, "revoke_keys", key.pk).content.decode()


def test_a_key_stays_with_its_project(staff, environment):
    key, secret = make_api_key(project=environment.project)
    staff.post(address(ApiKey, "change", key.pk), {"project": make_project().pk, "name": "renamed", "key_hash": "x"})
    assert (fresh(key).project, key.name) == (environment.project, "renamed")
    assert ApiKey.objects.matching(secret).exists()


def test_a_new_signing_secret_is_shown_once(staff, environment):
    answer = run_action(staff, Environment, "issue_secret", environment.pk)
    found = SECRET.search(answer.content.decode())
    assert found is not None
    assert fresh(environment).hmac_secret.open() == found.group(0)
    pages = ("changelist",), ("change", environment.pk), ("history", environment.pk)
    for page in pages:
        assert not SECRET.search(staff.get(address(Environment, *page)).content.decode())
    assert not SECRET.search(staff.get(address(Project, "change", environment.project.pk)).content.decode())


def test_signing_is_turned_off(staff, environment):
    enable_signing(environment)
    run_action(staff, Environment, "turn_signing_off", environment.pk)
    assert not fresh(environment).signs


def test_saving_an_environment_keeps_its_secret(staff, environment):
    secret = enable_signing(environment)
    save_environment(staff, environment, "{}")
    assert fresh(environment).hmac_secret.open() == secret


@contextmanager
def meanwhile(model: Any, change: Callable[[], Any]) -> Iterator[None]:
    """Makes the change after a row of the model was read for its page, and before the page writes it."""

    def listen(sender: Any, **_: Any) -> None:
        if not done:
            done.append(change())

    done: list[Any] = []
    pre_save.connect(listen, sender=model, weak=False)
    try:
        yield
    finally:
        pre_save.disconnect(listen, sender=model)
    assert done


def test_a_page_writes_only_what_was_changed_on_it(staff, environment):
    """A secret that was rotated while staff saved something else stays the new one."""
    secrets = []
    data = {"name": "renamed", "metrics_endpoint": "", "policy": "{}"}
    with meanwhile(Environment, lambda: secrets.append(enable_signing(Environment.objects.get(pk=environment.pk)))):
        assert staff.post(address(Environment, "change", environment.pk), data).status_code == 302
    assert (fresh(environment).name, environment.hmac_secret.open()) == ("renamed", secrets[0])


def test_units_and_settling_time_keep_their_value_where_nothing_is_sent(staff, environment):
    data = {"name": "prod", "metrics_endpoint": "", "policy": "{}"}
    page = address(Environment, "change", environment.pk)
    assert staff.post(page, {**data, "latency_p95_unit": "s", "settle_s": "90"}).status_code == 302
    assert (
        staff.post(page, {**data, "latency_p95_unit": "", "settle_s": "", "cpu_usage_unit": "percent"}).status_code
        == 302
    )
    found = fresh(environment)
    assert (found.latency_p95_unit, found.cpu_usage_unit, found.settle_s) == ("s", "percent", 90)
    assert staff.post(page, {**data, "cpu_usage_unit": "kelvin"}).status_code == 200


def test_the_rows_below_are_written_so_too(staff, environment):
    project, secrets = environment.project, []
    data = {
        "team": project.team_id,
        "name": "renamed",
        "plan": project.plan,
        "environments-TOTAL_FORMS": "2",
        "environments-INITIAL_FORMS": "1",
        "environments-0-id": environment.pk,
        "environments-0-project": project.pk,
        "environments-0-name": "moved",
        "environments-0-metrics_endpoint": "",
        "environments-1-project": project.pk,
        "environments-1-name": "new",
        "environments-1-metrics_endpoint": "",
    }

    def change() -> None:
        Project.objects.filter(pk=project.pk).update(last_number=4711)
        secrets.append(enable_signing(Environment.objects.get(pk=environment.pk)))

    with meanwhile(Project, change):
        assert staff.post(address(Project, "change", project.pk), data).status_code == 302
    project.refresh_from_db()
    environment.refresh_from_db()
    assert (project.name, project.last_number) == ("renamed", 4711)
    assert (environment.name, environment.hmac_secret.open()) == ("moved", secrets[0])
    assert project.environments.filter(name="new").exists()


def test_environments_open_when_the_key_that_encrypted_their_secret_is_lost(staff, environment, settings):
    enable_signing(environment)
    settings.SEQPULSE_ENCRYPTION_KEYS = ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
    paths = [
        address(Environment, "changelist"),
        address(Environment, "change", environment.pk),
        address(Project, "change", environment.project.pk),
        address(Deployment, "changelist"),
        address(MetricSample, "changelist"),
    ]
    assert [staff.get(path).status_code for path in paths] == [200] * len(paths)


# --- policy --------------------------------------------------------------------------------------------------------


def save_environment(staff: Client, environment: Environment, policy: str) -> Any:
    data = {"name": environment.name, "metrics_endpoint": "", "policy": policy}
    return staff.post(address(Environment, "change", environment.pk), data)


LIMITED = {"limits": {"latency_p95": 800}}
FIXED = {"kind": "fixed", "latency_p95": {"limit": 800}}


@pytest.mark.parametrize(
    ("text", "policy"), [("{}", {}), ("", {}), (json.dumps(LIMITED), LIMITED), (json.dumps(FIXED), FIXED)]
)
def test_a_policy_that_reads_is_saved(staff, environment, text, policy):
    assert save_environment(staff, environment, text).status_code == 302
    assert fresh(environment).policy == policy


def test_a_policy_saved_here_becomes_a_version_with_its_author(staff, environment):
    save_environment(staff, environment, json.dumps(LIMITED))
    save_environment(staff, environment, json.dumps(LIMITED))
    newest, older = PolicyVersion.objects.filter(environment=environment).order_by("-number")
    assert (newest.number, newest.policy, newest.source) == (2, LIMITED, "admin")
    assert newest.created_by is not None
    assert newest.created_by.username == "root"
    assert older.source == "file"


def test_saving_something_else_makes_no_version(staff, environment):
    data = {"name": "renamed", "metrics_endpoint": "", "policy": "{}", "baseline_interval_s": "900"}
    staff.post(address(Environment, "change", environment.pk), data)
    assert (fresh(environment).name, environment.baseline_interval_s) == ("renamed", 900)
    assert PolicyVersion.objects.filter(environment=environment).count() == 1


def test_a_new_environment_with_a_policy_begins_with_its_first_version(staff, environment):
    data = {"project": environment.project.pk, "name": "new", "metrics_endpoint": "", "policy": json.dumps(LIMITED)}
    assert staff.post(address(Environment, "add"), data).status_code == 302
    made = Environment.objects.get(name="new")
    assert made.policy == LIMITED
    assert [version.source for version in made.policy_versions.all()] == ["admin"]


def test_the_help_names_every_field_of_the_adaptive_policy(staff, environment):
    page = staff.get(address(Environment, "change", environment.pk)).content.decode()
    assert [name for name in policy_from_dict({}).as_dict() if name not in page] == []


def test_a_window_excluded_here_has_its_author_and_has_to_end_after_it_starts(staff, environment):
    data = {
        "environment": environment.pk,
        "starts_at_0": "2026-02-13",
        "starts_at_1": "10:00:00",
        "ends_at_0": "2026-02-13",
        "ends_at_1": "09:00:00",
    }
    assert "has to end after it starts" in staff.post(address(ExcludedWindow, "add"), data).content.decode()
    assert staff.post(address(ExcludedWindow, "add"), {**data, "ends_at_1": "11:00:00"}).status_code == 302
    made = ExcludedWindow.objects.latest("pk")
    assert made.created_by is not None
    assert made.created_by.username == "root"


@pytest.mark.parametrize(
    "text",
    [
        '{"latency": 800}',
        '{"limits": {"latency_p95": -1}}',
        '{"limits": {"latency_p95": NaN}}',
        '{"limits": {"latency_p95": ' + "9" * 6000 + "}}",
        '{"limits": {"latency_p95": ' + "9" * 400 + "}}",
        '{"kind": "fixed", "latency_p95": {"limit": -1}}',
        '{"kind": "fixed", "latency_p95": {"limit": ' + "9" * 400 + "}}",
        '{"kind": "unheard-of"}',
        "[1]",
        # Django takes these for empty, and asks no validator.
        "[]",
        '""',
        "null null",
        "{",
        "[" * 5000,
        '{"\\ud800": 1}',
        '{"critical_metrics": ["\\u0000", "\\udfff"]}',
        '{"' + "x" * 5000 + '": 1}',
        "\x00",
        "x" * 900_000,
    ],
)
def test_a_policy_that_does_not_read_is_refused_with_words(staff, environment, text):
    has(save_environment(staff, environment, text), "errorlist")
    assert fresh(environment).policy == {}


# --- projects and people -------------------------------------------------------------------------------------------


def test_a_project_is_made_with_its_environments(staff):
    team = make_membership().team
    data = {
        "team": team.pk,
        "name": "billing",
        "plan": "pro",
        "adopt_endpoints": "on",
        "environments-TOTAL_FORMS": "1",
        "environments-INITIAL_FORMS": "0",
        "environments-0-name": "prod",
        "environments-0-metrics_endpoint": "https://billing.example.com/ds-metrics",
    }
    assert staff.post(address(Project, "add"), data).status_code == 302
    assert Environment.objects.get(project__name="billing").metrics_endpoint == "https://billing.example.com/ds-metrics"
    refused = staff.post(address(Project, "add"), {**data, "name": "other", "window_minutes": "11"})
    has(refused, "At most 10 is possible")


def test_a_user_is_made_with_a_password_that_works(staff, client):
    data = {"username": "grace", "usable_password": "true", "password1": "a long one 42", "password2": "a long one 42"}
    assert staff.post(address(User, "add"), data).status_code == 302
    assert User.objects.get(username="grace").check_password("a long one 42")


# --- hostile input -------------------------------------------------------------------------------------------------

BAD_IDS = ["\x00", "x", "-1", "9" * 30, "1e3", "_00", "%2e%2e", "1" * 3000, "é", "\ud800".encode("utf-8", "replace")]
BAD_QUERIES = [
    {"q": "\x00"},
    {"q": "x " * 50_000},
    {"q": "\\%_'\""},
    {"o": "99.-99.x"},
    {"p": "9" * 30},
    {"p": "-1"},
    {"all": "\x00"},
    {"id__exact": "\x00"},
    {"id__exact": "9" * 40},
    {"id__in": "1,x"},
    {"password__startswith": "a"},
    {"hmac_secret__startswith": "a"},
    {"key_hash__startswith": "a"},
    {"created_at__year": "9" * 30},
    {"created_at__year": "0"},
    {"created_at__gte": "\x00"},
    {"status__exact": "\x00"},
    {"status__exact": "x" * 100_000},
    {"state__exact": "\x00"},
    {"\x00": "\x00"},
    {"e": "1"},
    {"_popup": "1", "_to_field": "\x00"},
    {"_facets": "True"},
]


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize("page", ["change", "delete", "history"])
def test_bad_ids_are_not_found(staff, environment, bad, page):
    for model in registered():
        path = address(model, page, 1).replace("/1/", "/{}/")
        quoted = "".join(f"%{byte:02x}" for byte in (bad if isinstance(bad, bytes) else bad.encode()))
        assert staff.get(path.format(quoted)).status_code in (302, 403, 404)


@pytest.mark.parametrize("query", BAD_QUERIES, ids=lambda query: str(query)[:40])
def test_bad_queries_never_break_a_list(staff, environment, query):
    for model in registered():
        assert staff.get(address(model, "changelist"), query, follow=True).status_code in (200, 400), model


@pytest.mark.parametrize("bad", ["\x00", "x", "9" * 30, "-1", "1 OR 1=1"])
def test_bad_selections_change_nothing(staff, environment, bad):
    secret = enable_signing(environment)
    for model, action in ((Environment, "turn_signing_off"), (ApiKey, "revoke_keys"), (Project, "delete_selected")):
        assert run_action(staff, model, action, bad).status_code in (200, 400)
    assert fresh(environment).hmac_secret.open() == secret


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "x" * 900_000, "\udc80", "<script>alert(1)</script>"])
def test_bad_text_in_forms_is_refused_or_shown_as_text(staff, environment, text):
    value = text.encode("utf-8", "surrogateescape").decode("latin-1")
    project = environment.project
    forms = [
        (address(Team, "add"), {"name": value}),
        (address(Membership, "add"), {"team": value, "user": value, "role": value}),
        (address(Project, "add"), {"name": value, "team": value, "plan": value, "window_minutes": value}),
        (
            address(Environment, "add"),
            {"name": value, "project": project.pk, "metrics_endpoint": value, "policy": value},
        ),
        (address(Environment, "change", environment.pk), {"name": value, "metrics_endpoint": value, "policy": "{}"}),
        (address(ApiKey, "add"), {"name": value, "project": project.pk}),
        (address(ApiKey, "add"), {"name": "n", "project": value}),
        (address(User, "add"), {"username": value, "password1": value, "password2": value}),
        (reverse("admin:login"), {"username": value, "password": value, "next": value}),
    ]
    for path, data in forms:
        prefixes = ("environments", "memberships")
        management = {f"{prefix}-{name}_FORMS": "0" for prefix in prefixes for name in ("TOTAL", "INITIAL")}
        answer = staff.post(path, {**management, **data}, follow=True)
        assert answer.status_code in (200, 400), path
        assert "<script>alert(1)" not in answer.content.decode()


def test_a_form_of_more_than_a_megabyte_is_refused(staff):
    assert staff.post(address(Team, "add"), {"name": "x" * 1_200_000}).status_code in (200, 400, 413)


@pytest.mark.parametrize("prefix", ["environments"])
@pytest.mark.parametrize("count", ["", "x", "-1", "9" * 30, "\x00"])
def test_a_broken_inline_is_refused(staff, environment, prefix, count):
    data = {"name": "n", "plan": "free", f"{prefix}-TOTAL_FORMS": count, f"{prefix}-INITIAL_FORMS": count}
    assert staff.post(address(Project, "change", environment.project.pk), data).status_code in (200, 400)
