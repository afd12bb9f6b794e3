from typing import Any

import pytest

from deployments.models import PipelineResult
from deployments.results import RESULT_OF, WORDS, known_words, result_of
from deployments.tests.pipeline import Pipeline

SYSTEMS = {
    "GitHub Actions": {
        "success": ["success", "neutral"],
        "failed": ["failure", "timed_out", "startup_failure"],
        "cancelled": ["cancelled", "skipped", "stale"],
    },
    "GitLab": {
        "success": ["success", "success-with-warnings", "passed with warnings"],
        "failed": ["failed"],
        "cancelled": ["canceled", "skipped"],
    },
    "Jenkins": {
        "success": ["SUCCESS", "fixed"],
        "failed": ["FAILURE", "UNSTABLE", "unsuccessful", "regression"],
        "cancelled": ["ABORTED", "NOT_BUILT", "NOT_EXECUTED"],
    },
    "CircleCI": {
        "success": ["success", "fixed"],
        "failed": ["failed", "error", "failing", "timedout", "infrastructure_fail", "unauthorized"],
        "cancelled": ["canceled", "not_run"],
    },
    "Buildkite": {
        "success": ["passed"],
        "failed": ["failed", "timed_out", "broken"],
        "cancelled": ["canceled", "skipped", "not_run", "expired"],
    },
    "Azure Pipelines": {
        "success": ["Succeeded", "SucceededWithIssues", "partiallySucceeded"],
        "failed": ["Failed", "rejected"],
        "cancelled": ["Canceled", "Skipped", "abandoned"],
    },
    "Bitbucket": {"success": ["SUCCESSFUL"], "failed": ["FAILED", "ERROR"], "cancelled": ["STOPPED", "EXPIRED"]},
    "Drone, Woodpecker": {
        "success": ["success"],
        "failed": ["failure", "error"],
        "cancelled": ["killed", "skipped", "declined"],
    },
    "TeamCity": {"success": ["SUCCESS", "NORMAL"], "failed": ["FAILURE", "ERROR"], "cancelled": []},
    "Travis, AppVeyor, Bamboo, GoCD": {
        "success": ["passed", "Successful", "Passed"],
        "failed": ["failed", "errored", "Still Failing", "Broken"],
        "cancelled": ["canceled", "cancelled", "NotBuilt"],
    },
    "Argo, Tekton, Concourse, Spinnaker": {
        "success": ["Succeeded", "succeeded", "SUCCEEDED"],
        "failed": ["Failed", "Error", "errored", "TERMINAL", "FAILED_CONTINUE", "PipelineRunTimeout"],
        "cancelled": ["aborted", "CANCELED", "STOPPED", "Terminated", "TaskRunCancelled"],
    },
    "build services of the clouds": {
        "success": ["SUCCEEDED", "SUCCESS"],
        "failed": ["FAULT", "TIMED_OUT", "TIMEOUT", "INTERNAL_ERROR", "FAILURE"],
        "cancelled": ["CANCELLED", "Superseded", "Abandoned"],
    },
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_word_of_a_ci_system_is_understood_in_any_case(system: str) -> None:
    for result, words in SYSTEMS[system].items():
        for word in words:
            for written in (word, word.upper(), word.lower(), word.replace("_", "-"), f"  {word}\n"):
                assert result_of(written) == result, written


@pytest.mark.parametrize("word", ["", " ", "_", "running", "in_progress", "pending", "manual", "completed", "0", "no"])
def test_a_word_that_is_no_result_stands_for_nothing(word: str) -> None:
    assert result_of(word) is None


def test_a_word_stands_for_one_result_and_the_list_has_them_all() -> None:
    assert sum(map(len, WORDS.values())) == len(RESULT_OF)
    assert set(WORDS) == set(PipelineResult.values)
    assert all(result_of(word) == RESULT_OF[word] and word in known_words() for word in RESULT_OF)


@pytest.mark.django_db
def test_finish_takes_the_word_of_a_ci_system(pipeline: Pipeline) -> None:
    assert pipeline.finish(pipeline.start(), result="UNSTABLE").json()["status"] == "accepted"
    assert pipeline.get("/deployments").json()["results"][0]["pipeline_result"] == "failed"


NO_RESULTS: list[Any] = ["in_progress", "", " ", None, True, 0, [], {}, "\0", "x" * 5000]


@pytest.mark.django_db
@pytest.mark.parametrize("body", [{}, *({"result": given} for given in NO_RESULTS)])
def test_finish_refuses_anything_else_with_the_list(pipeline: Pipeline, body: dict[str, Any]) -> None:
    answer = pipeline.post("/deployments/finish", {"deployment_id": pipeline.start(), **body})
    [message] = answer.json()["error"]["fields"]["result"]
    assert answer.status_code == 400
    assert all(word in message for word in RESULT_OF)
    assert pipeline.get("/deployments").json()["results"][0]["state"] == "running"
