"""An environment's policy: page, file, versions, replay, windows that feed no baseline; access, hostile input."""

import html
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Role
from analysis.models import DeploymentVerdict, VerdictName
from analysis.services import give_feedback
from dashboard.policies.queries import REPLAYED, VERSIONS_SHOWN
from dashboard.tests import scenes
from dashboard.tests.pages import (
    HOSTILE,
    address,
    as_role,
    elements,
    exclude,
    filled_in,
    form_with,
    fresh,
    has,
    moment,
    page_of,
    project_page_of,
    same_queries,
    send,
    shows,
    words,
)
from deployments.models import Deployment, State
from metrics.models import MetricSample
from projects.models import Environment, ExcludedWindow, PolicyVersion
from projects.policies import policy_from_toml
from projects.policy import FixedPolicy, policy_from_dict
from projects.services import set_policy
from tests.factories import make_deployment, make_environment, make_sample, make_verdict

OWNED = pytest.mark.environment(role=Role.OWNER, metrics_endpoint="https://shop.example.com/ds-metrics")
pytestmark = [pytest.mark.django_db, OWNED]

CUSTOM: list[dict[str, Any]] = [
    {
        "name": "checkouts_per_minute",
        "unit": '"€"/min',
        "kind": "rate",
        "direction": "either",
        "critical": True,
        "warning": {"relative": 0.3, "absolute": 2},
        "rollback": {"relative": 0.85},
        "smallest": 5,
    },
    {"name": "backlog"},
]
EVERYTHING: dict[str, Any] = {
    "kind": "adaptive",
    "custom_metrics": CUSTOM,
    "sensitivity": "high",
    "limits": {"requests_per_sec": 5, "latency_p95": 800, "error_rate": 0.012, "cpu_usage": 0.07, "memory_usage": 0.9},
    "tolerances": {"latency_p95": 0.25, "error_rate": 0},
    "warmup_samples": 0,
    "critical_metrics": ["error_rate", "cpu_usage"],
    "left_out": ["memory_usage"],
    "shadow": True,
}
FIXED: dict[str, Any] = {
    "kind": "fixed",
    "custom_metrics": CUSTOM,
    "latency_p95": {"limit": 450.5, "tolerance": 0.1},
    "error_rate": {"limit": 0.021},
    "requests_per_sec": {"drop": 0.3, "tolerance": 0.29, "min_pre_mean": 1.5},
    "secured_factor": 1,
    "min_quality": 0.57,
    "critical_metrics": ["latency_p95"],
}


# --- the form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [EVERYTHING, FIXED, {"kind": "adaptive"}, {"kind": "fixed"}])
def test_what_is_stored_is_shown_and_saving_it_unchanged_makes_no_version(browser_of, environment, policy):
    set_policy(environment, policy, source="dashboard")
    assert send(browser_of, environment).status_code == 302
    assert fresh(environment).policy == policy
    assert environment.policy_versions.count() == 1


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ({}, {"kind": "adaptive"}),
        ({"sensitivity": "low"}, {"kind": "adaptive", "sensitivity": "low"}),
        ({"limits__latency_p95": "800"}, {"kind": "adaptive", "limits": {"latency_p95": 800}}),
        ({"limits__error_rate": "1.2"}, {"kind": "adaptive", "limits": {"error_rate": 0.012}}),
        ({"limits__cpu_usage": "7"}, {"kind": "adaptive", "limits": {"cpu_usage": 0.07}}),
        ({"tolerances__error_rate": "0"}, {"kind": "adaptive", "tolerances": {"error_rate": 0}}),
        ({"warmup_samples": "0"}, {"kind": "adaptive", "warmup_samples": 0}),
        ({"left_out.cpu_usage": "on"}, {"kind": "adaptive", "left_out": ["cpu_usage"]}),
        ({"shadow": "on"}, {"kind": "adaptive", "shadow": True}),
        ({"kind": "fixed"}, {"kind": "fixed"}),
        ({"kind": "fixed", "fixed__latency_p95__limit": "450"}, {"kind": "fixed", "latency_p95": {"limit": 450}}),
        ({"kind": "fixed", "fixed__secured_factor": "100"}, {"kind": "fixed", "secured_factor": 1}),
        ({"kind": "fixed", "limits__latency_p95": "nonsense"}, {"kind": "fixed"}),
    ],
)
def test_each_field_says_what_it_says_in_the_policy(browser_of, environment, fields, policy):
    assert send(browser_of, environment, **fields).status_code == 302
    assert fresh(environment).policy == policy
    policy_from_dict(environment.policy)


def test_every_field_of_both_policies_is_on_the_form(browser_of, environment):
    names = {field.get("name") for field in elements(browser_of.get(page_of(environment)), "[name]")}
    adaptive = policy_from_dict({}).as_dict()
    fixed = FixedPolicy().as_dict()
    for start, policy in (("", adaptive), ("fixed.", fixed)):
        for name in policy:
            path = name if name in ("kind", "custom_metrics") else f"{start}{name}"
            assert path in names or any(known.startswith(f"{path}.") for known in names), path


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"limits__latency_p95": "-1"}, "limits.latency_p95"),
        ({"limits__error_rate": "101"}, "limits.error_rate"),
        ({"tolerances__cpu_usage": "120"}, "tolerances.cpu_usage"),
        ({"warmup_samples": "11"}, "warmup_samples"),
        ({"sensitivity": "extreme"}, "sensitivity"),
        ({"baseline_interval_s": "-5"}, "baseline_interval_s"),
        ({"kind": "fixed", "fixed__latency_p95__limit": "0"}, "fixed.latency_p95.limit"),
        ({"kind": "fixed", "fixed__requests_per_sec__drop": "0"}, "fixed.requests_per_sec.drop"),
        ({"custom_metrics": "[[custom_metrics]]\nname = 'Jobs'"}, "custom_metrics"),
        ({"kind": "fixed", "custom_metrics": "[[custom_metrics]]\nname = 'jobs'\nlimit = 5"}, "custom_metrics"),
        *(({"custom_metrics": text}, "custom_metrics") for text in ("nonsense", "jobs = 5", "custom_metrics = 5")),
        ({"custom_metrics": "a = " + "[" * 5000}, "custom_metrics"),
        ({"custom_metrics": "custom_metrics = [{name = 1979-05-27}]"}, "custom_metrics"),
    ],
)
def test_a_wrong_value_is_named_at_its_field_and_nothing_is_saved(browser_of, environment, fields, place):
    answer = send(browser_of, environment, **fields)
    assert answer.status_code == 200
    field, *_ = elements(answer, f'[name="{place}"]')
    # It is read out with the field.
    assert elements(answer, f'[id="{field.get("aria-describedby")}"] .field-error')
    assert not PolicyVersion.objects.exists()


def test_a_wrong_custom_metric_is_named_by_its_place(browser_of, environment):
    text = "[[custom_metrics]]\nname = 'jobs'\n[[custom_metrics]]\nname = 'backlog'\ndirection = 'down'"
    shows(send(browser_of, environment, custom_metrics=text), "custom_metrics.1.direction")


def test_a_profile_fills_the_form_and_saves_nothing(browser_of, environment):
    [link] = elements(browser_of.get(page_of(environment)), 'a[href="?profile=worker"]')
    page = browser_of.get(f"{page_of(environment)}{link.get('href')}")
    assert elements(page, 'input[name="left_out.latency_p95"][checked]')
    assert "jobs_per_minute" in elements(page, '[name="custom_metrics"]')[0].text
    assert not PolicyVersion.objects.exists()
    assert "jobs_per_minute" not in words(browser_of.get(f"{page_of(environment)}?profile=nonsense"))


def test_leaving_out_every_metric_is_refused_in_words(browser_of, environment):
    fields = {f"left_out.{metric}": "on" for metric in policy_from_dict({}).as_dict()["tolerances"]}
    shows(send(browser_of, environment, **fields), "leaves nothing to judge")
    assert not PolicyVersion.objects.exists()


def test_the_baseline_interval_is_saved_with_the_policy(browser_of, environment):
    send(browser_of, environment, baseline_interval_s="900")
    assert fresh(environment).baseline_interval_s == 900
    assert "In effect: one every 15 min" in words(browser_of.get(page_of(environment)))
    send(browser_of, environment, baseline_interval_s="0")
    assert "No baseline is sampled." in words(browser_of.get(page_of(environment)))
    send(browser_of, environment, baseline_interval_s="")
    assert fresh(environment).baseline_interval_s is None


def test_a_policy_that_was_changed_meanwhile_is_not_overwritten(browser_of, environment):
    data = {**filled_in(browser_of, environment), "sensitivity": "low", "do": "save"}
    set_policy(environment, {"sensitivity": "high"}, source="file")
    answer = browser_of.post(page_of(environment), data)
    assert "The policy was changed meanwhile" in words(answer)
    assert fresh(environment).policy == {"sensitivity": "high"}
    # Who has read that may save all the same.
    again = {**form_with(".policy-form", answer), "do": "save"}
    assert again["sensitivity"] == "low"
    assert browser_of.post(page_of(environment), again).status_code == 302
    assert fresh(environment).policy == {"kind": "adaptive", "sensitivity": "low"}


def test_a_baseline_interval_below_the_shortest_says_what_is_used_instead(browser_of, environment):
    least = environment.project.baseline_interval_s
    send(browser_of, environment, baseline_interval_s=str(least - 1))
    shows(browser_of.get(page_of(environment)), "is the shortest interval that the plan or the installation allows")
    send(browser_of, environment, baseline_interval_s=str(least))
    assert "shortest interval that the plan" not in words(browser_of.get(page_of(environment)))


def test_an_old_page_leaves_the_baseline_interval_that_another_user_has_set(browser_of, environment):
    data = {**filled_in(browser_of, environment), "sensitivity": "low", "do": "save"}
    Environment.objects.filter(pk=environment.pk).update(baseline_interval_s=0)
    assert browser_of.post(page_of(environment), data).status_code == 302
    environment.refresh_from_db()
    assert (environment.policy["sensitivity"], environment.baseline_interval_s) == ("low", 0)


@pytest.mark.parametrize("stored", [[], "text", {"kind": "unheard-of"}, {"limits": [1]}, 7])
def test_a_stored_policy_that_does_not_read_is_shown_and_can_be_replaced(browser_of, environment, stored):
    Environment.objects.filter(pk=environment.pk).update(policy=stored)
    assert "The stored policy cannot be read" in words(browser_of.get(page_of(environment)))
    assert "not readable: the default judges" in words(browser_of.get(project_page_of(environment)))
    assert send(browser_of, environment, sensitivity="low").status_code == 302
    assert fresh(environment).policy == {"kind": "adaptive", "sensitivity": "low"}


# --- as a file, versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [EVERYTHING, FIXED])
def test_the_file_that_the_page_shows_gives_the_same_policy(browser_of, environment, policy):
    set_policy(environment, policy, source="dashboard")
    (shown,) = elements(browser_of.get(page_of(environment)), "#toml code")
    assert policy_from_toml(shown.text_content(), environment.name) == policy


def test_versions_tell_who_changed_what(browser_of, environment, user):
    set_policy(environment, {"sensitivity": "high", "limits": {"latency_p95": 500}}, source="file")
    send(browser_of, environment, sensitivity="normal", limits__latency_p95="800")
    text = words(browser_of.get(page_of(environment)))
    newest = text[text.index("What changed") :]
    assert "2 just now From dashboard ada" in newest
    assert "limits.latency_p95 : 500 → 800" in newest
    assert 'sensitivity : "high" → default' in newest
    assert "1 just now From seqpulse.toml" in newest
    assert "limits.latency_p95 : default → 500" in newest


def test_naming_the_default_kind_is_shown_as_no_change(browser_of, environment):
    set_policy(environment, {"sensitivity": "high"}, source="file")
    send(browser_of, environment)
    assert environment.policy_versions.count() == 2
    shows(browser_of.get(page_of(environment)), "2 just now From dashboard ada What changed nothing")


def test_a_policy_that_came_from_a_file_says_that_the_file_brings_it_again(browser_of, environment):
    set_policy(environment, {"sensitivity": "high"}, source="file")
    assert "change the file, too" in words(browser_of.get(page_of(environment)))


def test_the_policy_page_takes_the_same_queries_however_long_its_history(browser_of, environment, user):
    def add() -> None:
        number = environment.policy_versions.count() + 1
        set_policy(environment, {"limits": {"latency_p95": number}}, source="dashboard", by=user)
        now = timezone.now()
        ExcludedWindow.objects.create(
            environment=environment, starts_at=now, ends_at=now + timedelta(minutes=number), created_by=user
        )

    # Session, user, environment, role, versions, windows.
    same_queries(browser_of, add, {page_of(environment): 6}, more=VERSIONS_SHOWN + 3)


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_shows_what_would_change_and_writes_nothing(browser_of, environment, user):
    kept = scenes.judged(environment, minutes_ago=60)
    slow = scenes.judged(environment, minutes_ago=40, **scenes.SLOW)
    give_feedback(slow.verdict, right=False, by=user, should_have_been="ok")
    before = (slow.verdict.verdict, DeploymentVerdict.objects.count(), PolicyVersion.objects.count())
    answer = send(browser_of, environment, "replay", limits__latency_p95="5000", limits__cpu_usage="90")
    text = words(answer)
    assert "1 of 2 verdicts would change." in text
    assert "Of the 1 that people marked with what it deserved, 0 was right and 1 would be." in text
    links = [link.get("href") for link in elements(answer, '[aria-labelledby="replay-title"] a')]
    assert address(slow) in links
    assert address(kept) not in links
    assert "Correct verdict: OK" in text
    # The form keeps what was tried, the file says it, and nothing is stored.
    assert 'value="5000"' in answer.content.decode()
    assert "latency_p95 = 5000" in text
    verdict = DeploymentVerdict.objects.get(deployment=slow)
    assert (verdict.verdict, DeploymentVerdict.objects.count(), PolicyVersion.objects.count()) == before
    assert fresh(environment).policy == {}


def test_a_replay_under_the_same_policy_changes_nothing(browser_of, environment):
    for minutes_ago, metrics in ((80, {}), (60, scenes.SLOW), (40, scenes.BROKEN)):
        scenes.judged(environment, minutes_ago=minutes_ago, **metrics)
    assert "0 of 3 verdicts would change." in words(send(browser_of, environment, "replay"))


def test_a_replay_takes_the_latest_of_its_own_environment_only(browser_of, environment):
    scenes.judged(make_environment(project=environment.project, name="staging"))
    make_deployment(environment=environment, state=State.FINISHED)
    for _ in range(REPLAYED + 1):
        make_verdict(make_deployment(environment=environment, state=State.ANALYZED), verdict=VerdictName.WARNING)
    assert f"of {REPLAYED} verdicts would change" in words(send(browser_of, environment, "replay"))


def test_deployments_whose_samples_are_gone_are_not_replayed(browser_of, environment):
    scenes.judged(environment, minutes_ago=60)
    MetricSample.objects.filter(deployment=scenes.judged(environment, minutes_ago=40)).delete()
    text = words(send(browser_of, environment, "replay"))
    shows(text, "0 of 1 verdict would change.", "1 could not be replayed: its samples are gone.")


def test_misses_count_in_a_replay_also_when_their_jobs_are_gone(browser_of, environment):
    deployment = scenes.unreachable(environment)
    assert deployment.verdict.verdict == VerdictName.ROLLBACK_RECOMMENDED
    deployment.jobs.all().delete()
    assert "0 of 1 verdict would change." in words(send(browser_of, environment, "replay"))


def test_of_an_early_verdict_the_final_word_is_replayed(browser_of, environment):
    deployment = scenes.called_out_early(environment)
    # Its window is open: nothing to compare with yet.
    assert "There is no judged deployment to replay yet." in words(send(browser_of, environment, "replay"))
    kept = Deployment.objects.filter(pk=deployment.pk)
    kept.update(window_samples=15)
    for index in range(6, 16):
        make_sample(deployment, sequence_index=index, error_rate=0.0)
    recovered = scenes.end_window(kept.get(), error_rate=0.0).verdict
    assert (recovered.verdict, recovered.final["verdict"]) == ("rollback_recommended", "ok")
    assert "0 of 1 verdict would change." in words(send(browser_of, environment, "replay"))


def test_without_deployments_a_replay_says_so(browser_of, environment):
    assert "There is no judged deployment to replay yet." in words(send(browser_of, environment, "replay"))


# --- windows that feed no baseline -----------------------------------------------------------------------------------


def test_a_window_is_taken_out_and_put_back(browser_of, environment, user):
    answer = exclude(
        browser_of, environment, starts_at=moment(hours=2), ends_at=moment(hours=1), reason="<b>load</b> test"
    )
    assert answer.status_code == 302
    window = ExcludedWindow.objects.get()
    assert (window.environment, window.created_by) == (environment, user)
    page = browser_of.get(page_of(environment))
    assert "<b>load</b> test" in words(page)
    assert "<b>load" not in page.content.decode()
    path = f"/dashboard/environments/{environment.pk}/windows/{window.pk}/remove/"
    assert browser_of.post(path).status_code == 302
    assert not ExcludedWindow.objects.exists()
    assert browser_of.post(path).status_code == 302


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "expected"),
    [
        ("", "", "This field is required"),
        (moment(hours=1), moment(hours=2), "has to end after it starts"),
        (moment(hours=1), moment(hours=1), "has to end after it starts"),
        (moment(days=40), moment(days=1), "at most 31 days"),
        (moment(days=400), moment(days=399), "more than a year away"),
        ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "more than a year away"),
        ("2026-02-30T00:00", "now", "Enter a valid date/time"),
    ],
    # Without times of now: all workers of a run have to find the same names.
    ids=["missing", "backwards", "empty", "too-long", "long-ago", "all-of-time", "no-date"],
)
def test_a_window_that_cannot_be_is_refused_at_its_field(browser_of, environment, starts_at, ends_at, expected):
    shows(exclude(browser_of, environment, starts_at=starts_at, ends_at=ends_at), expected)
    assert not ExcludedWindow.objects.exists()


def test_a_window_of_another_environment_is_not_removed_through_mine(browser_of, environment):
    now = timezone.now()
    foreign = ExcludedWindow.objects.create(environment=make_environment(), starts_at=now, ends_at=now + timedelta(1))
    browser_of.post(f"/dashboard/environments/{environment.pk}/windows/{foreign.pk}/remove/")
    assert ExcludedWindow.objects.filter(pk=foreign.pk).exists()


def test_numbers_are_typed_and_shown_as_the_language_writes_them(browser_of, environment):
    browser_of.defaults["HTTP_ACCEPT_LANGUAGE"] = "fr"
    answer = send(browser_of, environment, limits__error_rate="0,5", limits__latency_p95="1200.5")
    assert answer.status_code == 302
    environment.refresh_from_db()
    assert environment.policy["limits"] == {"error_rate": 0.005, "latency_p95": 1200.5}
    assert filled_in(browser_of, environment)["limits.error_rate"] == "0,5"
    browser_of.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    assert filled_in(browser_of, environment)["limits.error_rate"] == "0.5"


# --- access by role, and hostile input ---


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
def test_a_user_is_offered_only_what_she_may_do(environment, role, buttons):
    page = as_role(environment, role).get(page_of(environment))
    assert [words(button) for button in elements(page, "main button.button:not(.danger):not(.quiet)")] == buttons
    assert bool(elements(page, "[disabled]")) is (role == Role.VIEWER)


# --- hostile input -------------------------------------------------------------------------------------------------
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
    moments = ["0001-01-01T00:00", "9999-12-31T23:59:59.999999-23:59", "2026-01-01T00:00+99:99"]
    for text in [*HOSTILE, *moments, f"{moment(hours=3)}+23:59"]:
        assert exclude(browser_of, environment, **{**good, field: text}).status_code in (200, 302), text
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
