"""Options of trigger: a policy file, and waiting for the PRE sample."""

from datetime import UTC, datetime
from typing import Any

import pytest

from deployments import api
from deployments.models import Deployment
from deployments.tests.pipeline import Pipeline
from projects.models import PolicyVersion
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


@pytest.mark.parametrize(
    "given",
    [
        "yesterday",
        1767225600,
        "2026-02-30T10:00:00Z",
        "0001-01-01T00:00:00+14:00",
        # Times that some zones cannot show.
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "\x00",
    ],
)
def test_an_invalid_commit_time_is_refused(pipeline: Pipeline, given: Any) -> None:
    response = pipeline.trigger(committed_at=given)
    assert response.status_code == 400
    assert "committed_at" in response.json()["error"]["fields"]
    assert not Deployment.objects.exists()
