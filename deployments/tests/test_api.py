import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from deployments.models import Deployment
from deployments.tests.pipeline import ENDPOINT, Pipeline
from projects.models import ApiKey
from projects.services import NewProject, create_project, issue_api_key
from scheduler.models import ScheduledJob

pytestmark = pytest.mark.django_db


def test_a_trigger_makes_a_running_deployment_with_its_pre_collect_job(pipeline: Pipeline) -> None:
    answer = pipeline.trigger(branch="main", commit_sha="abc", version="1.2", author="ada")
    body = answer.json()
    deployment = Deployment.objects.get(uuid=UUID(body["deployment_id"]))
    assert (answer.status_code, body["status"], body["message"], body["number"]) == (200, "created", None, 1)
    assert (deployment.state, deployment.branch, deployment.author) == ("running", "main", "ada")
    assert [(job.job_type, job.phase) for job in deployment.jobs.all()] == [("pre_collect", "pre")]


@pytest.mark.parametrize("path", ["/deployments/trigger", "/deployments/trigger/"])
def test_a_trailing_slash_works_and_does_not_redirect(pipeline: Pipeline, path: str) -> None:
    assert pipeline.post(path, {"env": "prod"}).status_code == 200


def test_the_same_key_finds_the_same_deployment_also_after_it_has_finished(pipeline: Pipeline) -> None:
    first = pipeline.trigger(idempotency_key="run-1").json()
    pipeline.finish(first["deployment_id"])
    again = pipeline.trigger(idempotency_key="run-1").json()
    assert (again["deployment_id"], again["status"]) == (first["deployment_id"], "existing")


def test_the_header_wins_over_the_body(pipeline: Pipeline) -> None:
    headers = {"X-Idempotency-Key": "from-header"}
    pipeline.post("/deployments/trigger", {"env": "prod", "idempotency_key": "from-body"}, **headers)
    assert Deployment.objects.get().idempotency_key == "from-header"


def test_another_key_while_one_runs_finds_the_running_one(pipeline: Pipeline) -> None:
    first = pipeline.trigger(idempotency_key="run-1").json()
    second = pipeline.trigger(idempotency_key="run-2").json()
    assert (second["deployment_id"], second["status"]) == (first["deployment_id"], "existing")
    assert "still running" in second["message"]


def test_the_same_key_in_two_projects_makes_two_deployments(pipeline: Pipeline) -> None:
    other = create_project("blog", environment="prod", endpoint=ENDPOINT)
    first = pipeline.trigger(idempotency_key="run-1").json()
    second = Pipeline(other.api_key).trigger(idempotency_key="run-1").json()
    assert first["deployment_id"] != second["deployment_id"]
    assert second["status"] == "created"


def test_numbers_count_within_a_project(pipeline: Pipeline) -> None:
    numbers = []
    for _ in range(3):
        body = pipeline.trigger().json()
        numbers.append(body["number"])
        pipeline.finish(body["deployment_id"])
    assert numbers == [1, 2, 3]


def test_finish_closes_it_and_plans_its_samples_and_the_analysis(pipeline: Pipeline) -> None:
    uuid = pipeline.start()
    answer = pipeline.finish(uuid, result="failed").json()
    deployment = Deployment.objects.get()
    assert answer["status"] == "accepted"
    assert (deployment.state, deployment.pipeline_result) == ("finished", "failed")
    assert deployment.duration_ms is not None and deployment.finished_at is not None
    jobs = ScheduledJob.objects.filter(job_type="post_collect").order_by("sequence_index")
    due = [(job.scheduled_at - deployment.finished_at).total_seconds() for job in jobs]
    assert due == [60, 120, 180, 240, 300]
    assert ScheduledJob.objects.filter(job_type="analysis").count() == 1


def test_a_deployment_from_before_the_clock_was_set_back_can_be_finished(pipeline: Pipeline) -> None:
    uuid = pipeline.start()
    Deployment.objects.update(started_at=timezone.now() + timedelta(hours=1))
    assert pipeline.finish(uuid).json()["status"] == "accepted"
    assert Deployment.objects.get().duration_ms == 0


@pytest.mark.parametrize(("plan", "samples"), [("free", 5), ("pro", 10), ("enterprise", 15)])
def test_the_plan_says_how_many_samples_a_window_has(plan: str, samples: int) -> None:
    made = create_project("planned", environment="prod", endpoint=ENDPOINT, plan=plan)
    pipeline = Pipeline(made.api_key)
    pipeline.finish(pipeline.start())
    assert ScheduledJob.objects.filter(job_type="post_collect").count() == samples


def test_a_project_may_observe_for_less_than_its_plan_allows_but_not_longer(made: NewProject) -> None:
    made.project.window_minutes = 3
    assert made.project.effective_window_minutes == 3
    made.project.window_minutes = 99
    assert made.project.effective_window_minutes == 5


def test_a_second_finish_is_ignored(pipeline: Pipeline) -> None:
    uuid = pipeline.start()
    pipeline.finish(uuid)
    assert pipeline.finish(uuid, result="failed").json()["status"] == "ignored"
    assert ScheduledJob.objects.filter(job_type="analysis").count() == 1
    assert Deployment.objects.get().pipeline_result == "success"


def test_an_unknown_id_and_another_projects_look_the_same(pipeline: Pipeline) -> None:
    other = create_project("blog", environment="prod", endpoint=ENDPOINT)
    foreign = Pipeline(other.api_key).trigger().json()["deployment_id"]
    unknown = pipeline.finish(uuid4())
    assert pipeline.finish(foreign).json() == unknown.json()
    assert (unknown.status_code, unknown.json()["status"]) == (200, "not_found")
    assert Deployment.objects.get().state == "running"


@pytest.fixture
def bare(db: None) -> NewProject:
    """A project whose environment has no endpoint yet."""
    return create_project("bare", environment="prod")


class TestEndpoints:
    """Each environment has its own metrics endpoint."""

    @pytest.mark.parametrize("same", [ENDPOINT, "HTTP://METRICS.example:8080/ds-metrics"])
    def test_naming_the_environments_own_endpoint_is_fine(self, pipeline: Pipeline, same: str) -> None:
        assert pipeline.trigger(metrics_endpoint=same).status_code == 200

    @pytest.mark.parametrize(
        "given", ["http://metrics.example/ds-metrics", "http://metrics.example:8081/ds-metrics", "http://evil.example/"]
    )
    def test_another_endpoint_is_a_conflict_that_names_both(self, pipeline: Pipeline, given: str) -> None:
        answer = pipeline.trigger(metrics_endpoint=given)
        error = answer.json()["error"]
        assert answer.status_code == 409
        assert error["fields"] == {"metrics_endpoint": {"configured": ENDPOINT, "given": given}}
        assert given in answer.json()["detail"] and ENDPOINT in answer.json()["detail"]
        assert not Deployment.objects.exists()

    def test_finish_with_another_endpoint_changes_nothing(self, pipeline: Pipeline) -> None:
        uuid = pipeline.start()
        assert pipeline.finish(uuid, metrics_endpoint="http://evil.example/").status_code == 409
        assert Deployment.objects.get().state == "running"

    def test_a_known_key_finds_its_deployment_whatever_the_rest_of_the_call(self, pipeline: Pipeline) -> None:
        first = pipeline.trigger(idempotency_key="run-1", commit_sha="1111111").json()
        evil = "http://evil.example/"
        saying: list[dict[str, Any]] = [{"metrics_endpoint": evil}, {"commit_sha": "2222222"}]
        for body in [*saying, *({**body, "force": True} for body in saying)]:
            again = pipeline.trigger(idempotency_key="run-1", **body)
            assert (again.status_code, again.json()["status"]) == (200, "existing")
            assert again.json()["deployment_id"] == first["deployment_id"]
        pipeline.finish(first["deployment_id"])
        assert pipeline.trigger(idempotency_key="run-2", metrics_endpoint=evil).status_code == 409
        assert pipeline.trigger(idempotency_key="run-1", env="unheard-of").status_code == 400

    def test_a_known_key_of_another_project_finds_nothing(self, pipeline: Pipeline) -> None:
        other = create_project("blog", environment="blog", endpoint=ENDPOINT)
        pipeline.trigger(idempotency_key="run-1")
        assert Pipeline(other.api_key).trigger(idempotency_key="run-1").status_code == 400

    def test_while_one_runs_another_endpoint_finds_the_running_one(self, pipeline: Pipeline) -> None:
        first = pipeline.trigger().json()
        again = pipeline.trigger(metrics_endpoint="http://evil.example/")
        assert (again.status_code, again.json()["status"]) == (200, "existing")
        assert again.json()["deployment_id"] == first["deployment_id"]

    def test_a_force_with_another_endpoint_supersedes_nothing(self, pipeline: Pipeline) -> None:
        pipeline.trigger()
        assert pipeline.trigger(force=True, metrics_endpoint="http://evil.example/").status_code == 409
        assert Deployment.objects.get().state == "running"

    def test_a_second_finish_is_ignored_with_any_endpoint(self, pipeline: Pipeline) -> None:
        uuid = pipeline.start()
        pipeline.finish(uuid)
        again = pipeline.finish(uuid, metrics_endpoint="http://evil.example/")
        assert (again.status_code, again.json()["status"]) == (200, "ignored")

    def test_only_a_call_that_starts_or_closes_something_brings_an_endpoint(self, bare: NewProject) -> None:
        pipeline = Pipeline(bare.api_key)
        uuid = pipeline.start(idempotency_key="run-1")
        pipeline.trigger(idempotency_key="run-1", metrics_endpoint=ENDPOINT)
        pipeline.trigger(metrics_endpoint=ENDPOINT)
        pipeline.finish(uuid)
        pipeline.finish(uuid, metrics_endpoint=ENDPOINT)
        bare.environment.refresh_from_db()
        assert bare.environment.metrics_endpoint == ""
        uuid = pipeline.start()
        assert ENDPOINT in pipeline.finish(uuid, metrics_endpoint=ENDPOINT).json()["message"]
        bare.environment.refresh_from_db()
        assert bare.environment.metrics_endpoint == ENDPOINT

    def test_an_environment_without_one_takes_the_first_and_says_so(self, bare: NewProject) -> None:
        pipeline = Pipeline(bare.api_key)
        answer = pipeline.trigger(metrics_endpoint=ENDPOINT).json()
        bare.environment.refresh_from_db()
        assert bare.environment.metrics_endpoint == ENDPOINT
        assert ENDPOINT in answer["message"]

    def test_unless_the_project_forbids_it(self, bare: NewProject) -> None:
        pipeline = Pipeline(bare.api_key)
        bare.project.adopt_endpoints = False
        bare.project.save()
        assert pipeline.trigger(metrics_endpoint=ENDPOINT).status_code == 409
        bare.environment.refresh_from_db()
        assert bare.environment.metrics_endpoint == ""

    def test_a_call_without_any_endpoint_is_accepted_and_says_what_is_missing(self, bare: NewProject) -> None:
        pipeline = Pipeline(bare.api_key)
        answer = pipeline.trigger()
        assert answer.status_code == 200
        assert "metrics_endpoint" in answer.json()["message"]


class TestKeys:
    def test_a_missing_an_unknown_and_a_revoked_key_answer_401(self, client: Client, made: NewProject) -> None:
        ApiKey.objects.get().revoke()
        answers = [client.get("/deployments")]
        answers += [client.get("/deployments", headers={"X-API-Key": key}) for key in ("sp_wrong", made.api_key, "é")]
        assert [answer.status_code for answer in answers] == [401] * 4
        assert all(answer.json()["detail"] == answer.json()["error"]["message"] for answer in answers)

    def test_several_keys_work_side_by_side(self, pipeline: Pipeline, made: NewProject) -> None:
        second = issue_api_key(made.project, "second pipeline")
        assert Pipeline(second).trigger().status_code == pipeline.trigger().status_code == 200

    def test_only_a_hash_is_stored(self, made: NewProject) -> None:
        row = ApiKey.objects.values().get()
        assert made.api_key not in str(row)
        assert made.api_key.startswith(row["prefix"])

    def test_use_is_noted(self, pipeline: Pipeline) -> None:
        pipeline.trigger()
        assert ApiKey.objects.get().last_used_at is not None


class TestReading:
    def test_a_deployment_without_a_verdict_answers_202_and_null(self, pipeline: Pipeline) -> None:
        uuid = pipeline.start()
        gate = pipeline.verdict(uuid)
        assert (gate.status_code, gate.json()["verdict"], gate.json()["state"]) == (202, None, "running")
        assert int(gate["Retry-After"]) >= 1
        assert pipeline.get(f"/deployments/{uuid}").json()["verdict"] is None
        assert pipeline.get("/deployments").json()["results"][0]["verdict"] is None
        assert pipeline.get("/deployments?verdict=ok").json()["results"] == []

    def test_waiting_ends_when_the_time_is_up(self, pipeline: Pipeline) -> None:
        uuid = pipeline.start()
        answer = pipeline.verdict(uuid, wait=0.2)
        assert answer.status_code == 202

    @pytest.mark.parametrize("wait", ["61", "-1", "nan", "inf", "soon", "\0", "1e999"])
    def test_a_wait_that_is_no_number_of_seconds_is_refused(self, pipeline: Pipeline, wait: str) -> None:
        uuid = pipeline.start()
        answer = pipeline.verdict(uuid, wait=wait)
        assert answer.status_code == 400
        assert "wait" in answer.json()["error"]["fields"]

    def test_pages_follow_each_other_without_gaps(self, pipeline: Pipeline) -> None:
        for _ in range(7):
            pipeline.finish(pipeline.start())
        page = pipeline.get("/deployments?limit=3").json()
        numbers = [row["number"] for row in page["results"]]
        while page["next"]:
            page = pipeline.get(page["next"]).json()
            numbers += [row["number"] for row in page["results"]]
        assert numbers == [7, 6, 5, 4, 3, 2, 1]

    def test_the_list_can_be_narrowed(self, pipeline: Pipeline) -> None:
        pipeline.finish(pipeline.start())
        pipeline.trigger()

        def count(query: str) -> int:
            return len(pipeline.get(f"/deployments?{query}").json()["results"])

        assert count("state=running") == count("state=finished") == 1
        assert (count("environment=prod"), count("environment=staging")) == (2, 0)
        assert (count("started_after=2020-01-01T00:00:00Z"), count("started_before=2020-01-01T00:00:00Z")) == (2, 0)

    def test_the_list_takes_a_fixed_number_of_queries(
        self, pipeline: Pipeline, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(5):
            pipeline.finish(pipeline.start())
        with django_assert_max_num_queries(3):
            pipeline.get("/deployments")

    def test_the_schema_names_every_call(self, client: Client) -> None:
        schema = client.get("/api/schema?format=json")
        assert schema.status_code == 200
        paths = set(json.loads(schema.content)["paths"])
        assert {"/deployments/trigger", "/deployments/finish", "/deployments", "/sdh"} <= paths
        assert {f"/deployments/{{uuid}}{suffix}" for suffix in ("", "/verdict", "/metrics")} <= paths
        assert client.get("/api/docs").status_code == 200


def test_an_internal_error_has_the_shape_of_all_errors(made: NewProject, settings: Any) -> None:
    # A setting that only breaks while the call is served.
    settings.SEQPULSE_API_BODY_MAX_BYTES = "not a number"
    answer = Pipeline(made.api_key, raise_request_exception=False).trigger()
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert answer.json()["detail"] == answer.json()["error"]["message"]


def test_a_cycle_asks_the_database_little(pipeline: Pipeline, django_assert_max_num_queries: Any) -> None:
    pipeline.trigger(idempotency_key="first: notes when the key was last used")
    finish = {"deployment_id": str(Deployment.objects.get().uuid), "result": "success"}
    # Inside the test, BEGIN and COMMIT count as well: they are savepoints of its own transaction.
    finish["metrics_endpoint"] = ENDPOINT
    with django_assert_max_num_queries(6):
        assert pipeline.post("/deployments/finish", finish).json()["status"] == "accepted"
    with django_assert_max_num_queries(8):
        assert pipeline.trigger().json()["status"] == "created"
