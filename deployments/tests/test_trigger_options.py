"""Options of trigger: a policy file, and waiting for the PRE sample."""

from datetime import UTC, datetime
from typing import Any

import pytest

from deployments import api
from deployments.models import Deployment
from deployments.tests.pipeline import Pipeline
from projects.models import Environment, PolicyVersion
from projects.services import NewProject
from scheduler.models import ScheduledJob

FILE = """
sensitivity = "high"
[limits]
latency_p95 = 800

[environments.prod.limits]
error_rate = 0.02

[environments.staging]
sensitivity = "low"
"""


def test_a_policy_file_becomes_the_environments_policy_and_is_pinned(pipeline: Pipeline, made: NewProject) -> None:
    assert pipeline.trigger(policy=FILE).status_code == 200
    made.environment.refresh_from_db()
    wanted = {"sensitivity": "high", "limits": {"latency_p95": 800, "error_rate": 0.02}}
    assert made.environment.policy == wanted
    pinned = Deployment.objects.get().policy_version
    assert pinned is not None
    assert (pinned.policy, pinned.number, pinned.source) == (wanted, 1, "file")


def test_the_same_file_again_makes_no_new_version(pipeline: Pipeline) -> None:
    for _ in range(2):
        pipeline.trigger(policy=FILE)
        Deployment.objects.update(state="finished")
    assert PolicyVersion.objects.count() == 1
    pipeline.trigger(policy={"sensitivity": "low"})
    assert list(PolicyVersion.objects.order_by("number").values_list("number", flat=True)) == [1, 2]


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ("sensitivity = ", "TOML"),
        ('sensitivity = "extreme"', "sensitivity"),
        ("[limits]\nlatency_p95 = -5", "limits.latency_p95"),
        ("[limits]\nlatencyp95 = 5", "latencyp95"),
        ("environments = 3", "environments"),
        ({"limits": {"error_rate": "high"}}, "limits.error_rate"),
        ("x" * 20_000, "longer"),
        (5, "seqpulse.toml"),
        ("a = " + "[" * 5000, "nested"),
        ("\0", "TOML"),
        ("warmup_samples = " + "9" * 4400, "thousands of digits"),
        ("limits.latency_p95 = 0x" + "f" * 4400, "limits.latency_p95"),
        ({"limits": {"latency_p95": 10**4000}}, "limits.latency_p95"),
    ],
)
def test_a_wrong_policy_is_refused_by_name_and_nothing_starts(pipeline: Pipeline, policy: Any, named: str) -> None:
    answer = pipeline.trigger(policy=policy)
    assert answer.status_code == 400
    assert named in str(answer.json()["error"]["fields"]["policy"])
    assert not Deployment.objects.exists()
    assert not PolicyVersion.objects.exists()


def test_without_the_wish_to_wait_nothing_is_said_of_the_sample(pipeline: Pipeline) -> None:
    assert "pre" not in pipeline.trigger().json()


@pytest.mark.parametrize(
    ("columns", "status", "message"),
    [
        ({"status": "completed"}, "collected", None),
        ({"status": "failed", "last_error": "HTTP 503 from x"}, "failed", "HTTP 503 from x"),
        ({"status": "pending", "retry_count": 1, "last_error": "HTTP 503 from x"}, "failed", "HTTP 503 from x"),
    ],
)
def test_a_waiting_caller_gets_the_state_of_the_sample(
    pipeline: Pipeline, columns: dict[str, Any], status: str, message: str | None
) -> None:
    pipeline.trigger()
    ScheduledJob.objects.filter(job_type="pre_collect").update(**columns)
    assert pipeline.trigger(wait_for_pre=True).json()["pre"] == {"status": status, "message": message}


def test_the_wait_has_an_end(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_WAIT_FOR_PRE_S", 0.3)
    pre = pipeline.trigger(wait_for_pre=True).json()["pre"]
    assert pre["status"] == "pending"
    assert "poller" in pre["message"]


def test_the_time_of_the_commit_is_kept(pipeline: Pipeline) -> None:
    assert pipeline.trigger(committed_at="2026-03-01T10:00:00+02:00").status_code == 200
    assert Deployment.objects.get().committed_at == datetime(2026, 3, 1, 8, tzinfo=UTC)
    answer = pipeline.get("/deployments").json()
    assert answer["results"][0]["committed_at"] == "2026-03-01T08:00:00Z"


@pytest.mark.parametrize("body", [{}, {"committed_at": None}, {"committed_at": ""}])
def test_a_call_may_leave_the_time_of_the_commit_out(pipeline: Pipeline, body: dict[str, Any]) -> None:
    assert pipeline.trigger(**body).status_code == 200
    assert Deployment.objects.get().committed_at is None


LONG = "x" * 3000


@pytest.mark.parametrize(
    ("field", "given", "stored", "said"),
    [
        ("branch", LONG, LONG[:255], "255 characters and was cut"),
        ("author", {"name": "ada"}, "", "no text"),
        ("author", True, "", "no text"),
        ("version", 2.5, "2.5", None),
        ("version", "v1\0", "", "control characters"),
        ("branch", "\ud800", "", "control characters"),
        ("branch", "\x1b[31mred", "", "control characters"),
        ("branch", " main\n", "main", None),
        ("commit_sha", 1234567, "1234567", None),
        ("commit_sha", LONG, LONG[:64], "64 characters and was cut"),
        ("commit_sha", ["abc"], "", "no text"),
        ("commit_message", "Fix it\n\nBecause.\r\n\tSo.\n", "Fix it\n\nBecause.\r\n\tSo.", None),
        ("commit_message", LONG, LONG[:2000], "2000 characters and was cut"),
        # As much as a command line carries in one argument, and JSON may write it six times as long.
        ("commit_message", "é" * 65_536, "é" * 2000, "2000 characters and was cut"),
        ("url", "javascript:alert(1)", "", "no http or https link"),
        ("url", "/builds/7", "", "no http or https link"),
        ("url", "HTTPS://ci.example/" + LONG, ("HTTPS://ci.example/" + LONG)[:2048], "2048 characters and was cut"),
        ("committed_at", "yesterday", None, "no time"),
        ("committed_at", 1767225600, None, "no time"),
        ("committed_at", "2026-02-30T10:00:00Z", None, "no time"),
        # Times that some zones cannot show.
        ("committed_at", "0001-01-01T00:00:00+14:00", None, "no time"),
        ("committed_at", "9999-12-31T23:59:59Z", None, "no time"),
        ("committed_at", "\x00", None, "no time"),
        # PostgreSQL reads no such offset.
        ("committed_at", "2026-03-01T10:00:00+16:00", datetime(2026, 2, 28, 18, tzinfo=UTC), None),
        ("committed_at", "2026-03-01T10:00:00-23:59", datetime(2026, 3, 2, 9, 59, tzinfo=UTC), None),
        ("committed_at", "2026-03-01 10:00:00 +0200", datetime(2026, 3, 1, 8, tzinfo=UTC), None),
        ("committed_at", "2026-03-01T10:00:00", datetime(2026, 3, 1, 10, tzinfo=UTC), None),
    ],
)
def test_what_is_only_shown_is_cut_or_left_out_and_never_refuses_a_call(
    pipeline: Pipeline, field: str, given: Any, stored: Any, said: str | None
) -> None:
    answer = pipeline.trigger(**{field: given})
    assert answer.status_code == 200
    assert getattr(Deployment.objects.get(), field) == stored
    message = answer.json()["message"]
    assert message is None if said is None else message.startswith(f"{field} ") and said in message


def test_one_message_names_every_field_that_was_changed(pipeline: Pipeline) -> None:
    message = pipeline.trigger(branch=LONG, url="x", committed_at="now", author=None).json()["message"]
    assert [name for name in ("branch", "url", "committed_at", "author") if name in message] == [
        "branch",
        "url",
        "committed_at",
    ]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, "deployment"),
        ({"kind": None}, "deployment"),
        ({"kind": " "}, "deployment"),
        ({"kind": "Rollback "}, "rollback"),
    ]
    + [({"kind": kind}, kind) for kind in ("deployment", "rollback", "verification")],
)
def test_the_kind_of_a_deployment_is_kept(pipeline: Pipeline, given: dict[str, Any], stored: str) -> None:
    uuid = pipeline.start(**given)
    assert pipeline.get(f"/deployments/{uuid}").json()["kind"] == stored


@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        *(("kind", kind, "one of deployment, rollback, verification") for kind in ("hotfix", 5, ["rollback"], "\0")),
        *(("settle_seconds", wrong, "from 0 to 3600") for wrong in (-1, 3601, 1.5, "soon", True, [90], 10**30)),
    ],
)
def test_what_decides_is_refused_by_name_where_it_is_wrong(
    pipeline: Pipeline, field: str, given: Any, said: str
) -> None:
    answer = pipeline.trigger(**{field: given})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["fields"][field][0]
    assert answer.json()["detail"].startswith(f"{field}: ")
    assert not Deployment.objects.exists()


@pytest.mark.parametrize(
    ("own", "given", "waits"),
    [
        (0, {}, 0),
        (90, {}, 90),
        (90, {"settle_seconds": None}, 90),
        (90, {"settle_seconds": " "}, 90),
        (90, {"settle_seconds": 0}, 0),
        (0, {"settle_seconds": 3600}, 3600),
        (90, {"settle_seconds": "30"}, 30),
    ],
)
def test_the_window_starts_after_the_settling_time_of_the_call_else_of_the_environment(
    pipeline: Pipeline, own: int, given: dict[str, Any], waits: int
) -> None:
    Environment.objects.update(settle_s=own)
    uuid = pipeline.start(**given)
    Environment.objects.update(settle_s=1)
    message = pipeline.finish(uuid).json()["message"]
    assert f"in about {waits + 300} s" in message
    assert (f"Measuring starts {waits:,} s after finish" in message) == bool(waits)
    deployment = Deployment.objects.get()
    assert deployment.finished_at is not None
    due = {
        (job.job_type, job.sequence_index): (job.scheduled_at - deployment.finished_at).total_seconds()
        for job in ScheduledJob.objects.exclude(job_type="pre_collect")
    }
    assert due == {("analysis", 0): waits + 360, **{("post_collect", i): waits + 60 * i for i in range(1, 6)}}
    assert pipeline.get(f"/deployments/{uuid}").json()["settle_seconds"] == waits
