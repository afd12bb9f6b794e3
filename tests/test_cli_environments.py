"""What the command line client finds in the variables of CI systems, and how it reads and writes texts. Pure."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.client_module import load
from tests.system_tools import require

client = load()

SHA = "7c1f2a0000000000000000000000000000000000"
# Variables of a CI system, as its documentation describes them, and what they say.
SYSTEMS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "github": (
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_RUN_ID": "1658821493",
            "GITHUB_RUN_ATTEMPT": "3",
            "GITHUB_REF_NAME": "main",
            "GITHUB_SHA": SHA,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "acme/shop",
            "GITHUB_ACTOR": "ana",
            "GITHUB_TRIGGERING_ACTOR": "bo",
        },
        {
            "idempotency_key": "1658821493-3",
            "branch": "main",
            "commit_sha": SHA,
            "url": "https://github.com/acme/shop/actions/runs/1658821493/attempts/3",
        },
    ),
    "gitlab": (
        {
            "GITLAB_CI": "true",
            "CI_JOB_ID": "1234",
            "CI_COMMIT_REF_NAME": "main",
            "CI_COMMIT_SHA": SHA,
            "CI_COMMIT_MESSAGE": "Cache prices\n\nThey change once a day.",
            "CI_COMMIT_AUTHOR": "Ana Diaz <ana@example.com>",
            "GITLAB_USER_NAME": "Bo",
            "CI_COMMIT_TIMESTAMP": "2026-11-30T12:00:00+01:00",
            "CI_JOB_URL": "https://gitlab.example/acme/shop/-/jobs/1234",
        },
        {
            "idempotency_key": "1234",
            "branch": "main",
            "commit_sha": SHA,
            "commit_message": "Cache prices\n\nThey change once a day.",
            "author": "Ana Diaz",
            "committed_at": "2026-11-30T12:00:00+01:00",
            "url": "https://gitlab.example/acme/shop/-/jobs/1234",
        },
    ),
    "jenkins": (
        {
            "JENKINS_URL": "https://jenkins.example/",
            "BUILD_TAG": "jenkins-shop-17",
            "GIT_BRANCH": "origin/main",
            "GIT_COMMIT": SHA,
            "BUILD_URL": "https://jenkins.example/job/shop/17/",
        },
        {
            "idempotency_key": "jenkins-shop-17",
            "branch": "main",
            "commit_sha": SHA,
            "url": "https://jenkins.example/job/shop/17/",
        },
    ),
    "circleci": (
        {
            "CIRCLECI": "true",
            "CIRCLE_WORKFLOW_JOB_ID": "a1b2",
            "CIRCLE_BRANCH": "main",
            "CIRCLE_SHA1": SHA,
            "CIRCLE_USERNAME": "bo",
            "CIRCLE_BUILD_URL": "https://circleci.example/gh/acme/shop/17",
        },
        {
            "idempotency_key": "a1b2",
            "branch": "main",
            "commit_sha": SHA,
            "url": "https://circleci.example/gh/acme/shop/17",
        },
    ),
    "bitbucket": (
        {
            "BITBUCKET_BUILD_NUMBER": "17",
            "BITBUCKET_PIPELINE_UUID": "{c0ffee}",
            "BITBUCKET_STEP_RUN_NUMBER": "2",
            "BITBUCKET_BRANCH": "main",
            "BITBUCKET_COMMIT": SHA,
            "BITBUCKET_REPO_FULL_NAME": "acme/shop",
        },
        {
            "idempotency_key": "c0ffee-2",
            "branch": "main",
            "commit_sha": SHA,
            "url": "https://bitbucket.org/acme/shop/pipelines/results/17",
        },
    ),
    "azure": (
        {
            "TF_BUILD": "True",
            "BUILD_BUILDID": "99",
            "SYSTEM_STAGEATTEMPT": "1",
            "SYSTEM_JOBATTEMPT": "2",
            "BUILD_SOURCEBRANCH": "refs/heads/feature/x",
            "BUILD_SOURCEVERSION": SHA,
            "BUILD_SOURCEVERSIONMESSAGE": "Cache prices",
            "BUILD_SOURCEVERSIONAUTHOR": "Ana Diaz",
            "BUILD_REQUESTEDFOR": "Bo",
            "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/",
            "SYSTEM_TEAMPROJECT": "Web shop",
        },
        {
            "idempotency_key": "99-1.2",
            "branch": "feature/x",
            "commit_sha": SHA,
            "commit_message": "Cache prices",
            "author": "Ana Diaz",
            "url": "https://dev.azure.com/acme/Web%20shop/_build/results?buildId=99",
        },
    ),
    "buildkite": (
        {
            "BUILDKITE": "true",
            "BUILDKITE_BUILD_ID": "b-1",
            "BUILDKITE_RETRY_COUNT": "1",
            "BUILDKITE_JOB_ID": "j-1",
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_COMMIT": SHA,
            "BUILDKITE_MESSAGE": "Cache prices",
            "BUILDKITE_BUILD_AUTHOR": "Ana Diaz",
            "BUILDKITE_BUILD_CREATOR": "Bo",
            "BUILDKITE_BUILD_URL": "https://buildkite.com/acme/shop/builds/17",
        },
        {
            "idempotency_key": "b-1-1",
            "branch": "main",
            "commit_sha": SHA,
            "commit_message": "Cache prices",
            "author": "Ana Diaz",
            "url": "https://buildkite.com/acme/shop/builds/17#j-1",
        },
    ),
    "drone": (
        {
            "DRONE": "true",
            "DRONE_BUILD_NUMBER": "17",
            "DRONE_REPO": "acme/shop",
            "DRONE_COMMIT_BRANCH": "main",
            "DRONE_COMMIT_SHA": SHA,
            "DRONE_COMMIT_MESSAGE": "Cache prices",
            "DRONE_COMMIT_AUTHOR": "ana",
            "DRONE_COMMIT_AUTHOR_NAME": "Ana Diaz",
            "DRONE_BUILD_LINK": "https://drone.example/acme/shop/17",
        },
        {
            "idempotency_key": "17-acme/shop",
            "branch": "main",
            "commit_sha": SHA,
            "commit_message": "Cache prices",
            "author": "Ana Diaz",
            "url": "https://drone.example/acme/shop/17",
        },
    ),
    "": ({}, {}),
}
# Not the author of the commit: who pushed it, or started the run again.
STARTED_BY = {"github": "bo", "gitlab": "Bo", "circleci": "bo", "azure": "Bo", "buildkite": "Bo"}
# Other variables of the same systems, and what they change.
VARIANTS: list[tuple[str, dict[str, str], dict[str, str]]] = [
    ("github", {"GITHUB_HEAD_REF": "fix", "GITHUB_REF_NAME": "7/merge"}, {"branch": "fix"}),
    ("gitlab", {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "fix"}, {"branch": "fix"}),
    ("jenkins", {"JENKINS_URL": "", "JENKINS_HOME": "/var/lib/jenkins"}, {}),
    (
        "jenkins",
        {"BRANCH_NAME": "PR-7", "CHANGE_BRANCH": "fix", "CHANGE_AUTHOR": "ana"},
        {"branch": "fix", "author": "ana"},
    ),
    ("circleci", {"CIRCLE_BRANCH": "", "CIRCLE_TAG": "v1"}, {"branch": "v1"}),
    (
        "circleci",
        {"CIRCLE_WORKFLOW_JOB_ID": "", "CIRCLE_WORKFLOW_ID": "w", "CIRCLE_BUILD_NUM": "17"},
        {"idempotency_key": "w-17"},
    ),
    ("bitbucket", {"BITBUCKET_BRANCH": "", "BITBUCKET_TAG": "v1"}, {"branch": "v1"}),
    ("azure", {"SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/fix"}, {"branch": "fix"}),
    (
        "azure",
        {
            "RELEASE_RELEASEID": "392",
            "RELEASE_ATTEMPTNUMBER": "2",
            "RELEASE_RELEASEWEBURL": "https://acme.visualstudio.com/f33/_release?releaseId=392&_a=release-summary",
        },
        {
            "idempotency_key": "release-392-2",
            "url": "https://acme.visualstudio.com/f33/_release?releaseId=392&_a=release-summary",
        },
    ),
    ("buildkite", {"BUILDKITE_COMMIT": "HEAD"}, {"commit_sha": ""}),
    ("drone", {"DRONE_COMMIT_AUTHOR_NAME": ""}, {"author": "ana"}),
]


def test_each_ci_system_says_which_run_of_which_commit_it_is() -> None:
    for system, (variables, expected) in SYSTEMS.items():
        found = client.detect(variables)
        assert (found.system, found.fields) == (system, expected), system
        assert found.started_by == STARTED_BY.get(system, ""), system


def test_pull_requests_tags_and_releases_are_read_where_the_system_says_them() -> None:
    for system, changed, differing in VARIANTS:
        variables, usual = SYSTEMS[system]
        expected = {name: text for name, text in {**usual, **differing}.items() if text}
        assert client.detect({**variables, **changed})[:2] == (system, expected), changed


def test_another_attempt_has_another_key() -> None:
    attempts = {
        "github": {"GITHUB_RUN_ATTEMPT": "4"},
        "gitlab": {"CI_JOB_ID": "1235"},
        "jenkins": {"BUILD_TAG": "jenkins-shop-18"},
        "circleci": {"CIRCLE_WORKFLOW_JOB_ID": "a1b3"},
        "bitbucket": {"BITBUCKET_STEP_RUN_NUMBER": "3"},
        "azure": {"SYSTEM_STAGEATTEMPT": "2"},
        "buildkite": {"BUILDKITE_RETRY_COUNT": "2"},
        "drone": {"DRONE_BUILD_NUMBER": "18"},
    }
    for system, changed in attempts.items():
        variables, expected = SYSTEMS[system]
        assert client.detect({**variables, **changed}).fields["idempotency_key"] != expected["idempotency_key"]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            {
                "head_commit": {
                    "id": SHA,
                    "message": "m",
                    "timestamp": "2026-11-30T12:00:00Z",
                    "author": {"name": "Ana"},
                }
            },
            {"commit_message": "m", "author": "Ana", "committed_at": "2026-11-30T12:00:00Z"},
        ),
        ({"head_commit": {"id": "another", "message": "m"}}, {}),
        ({"head_commit": None}, {}),
        ([], {}),
        ("no JSON", {}),
    ],
)
def test_github_names_the_commit_in_the_file_of_its_event(event: Any, said: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text(event if event == "no JSON" else json.dumps(event))
    variables, expected = SYSTEMS["github"]
    assert client.detect({**variables, "GITHUB_EVENT_PATH": str(path)}).fields == {**expected, **said}


def test_git_names_what_the_ci_system_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    assert client.commit_fields({"branch": "b"}) == {"branch": "b"}
    who = ["-c", "user.name=Ana Diaz", "-c", "user.email=ana@example.com"]
    for command in (
        ["init", "-q", "-b", "main"],
        [*who, "commit", "-q", "--allow-empty", "-m", "Cache prices\n\nDaily."],
    ):
        subprocess.run([require("git"), *command], check=True)
    found = client.commit_fields({})
    assert found["commit_message"] == "Cache prices\n\nDaily."
    assert (found["author"], found["branch"]) == ("Ana Diaz", "main")
    assert client.commit_fields({"commit_sha": found["commit_sha"], "author": "CI"}) == {**found, "author": "CI"}
    # A commit that is not there, and one that is none.
    for sha in (SHA, "--output=x"):
        assert client.commit_fields({"commit_sha": sha}) == {"commit_sha": sha}
    assert [path.name for path in tmp_path.iterdir()] == [".git"]


def test_the_result_of_a_job_is_read_where_the_system_says_it() -> None:
    said = [
        ("gitlab", {"CI_JOB_STATUS": "failed"}, "failed"),
        ("gitlab", {"CI_JOB_STATUS": "running"}, ""),
        ("bitbucket", {"BITBUCKET_EXIT_CODE": "1"}, "failed"),
        ("azure", {"AGENT_JOBSTATUS": "SucceededWithIssues"}, "SucceededWithIssues"),
        ("buildkite", {"BUILDKITE_COMMAND_EXIT_STATUS": "0"}, "success"),
        ("drone", {"DRONE_BUILD_STATUS": "failure"}, "failure"),
        ("github", {}, ""),
        ("", {"CI_JOB_STATUS": "failed"}, ""),
    ]
    for system, more, expected in said:
        assert client.result_of({**SYSTEMS[system][0], **more}) == expected, (system, more)


VERDICTS: list[tuple[dict[str, Any], tuple[int, int, int]]] = [
    # the answer; exit codes with --fail-on rollback (default), warning, never
    ({"verdict": "ok", "conclusive": True}, (0, 0, 0)),
    ({"verdict": "warning", "conclusive": True}, (0, 10, 0)),
    ({"verdict": "warning", "conclusive": False}, (0, 10, 0)),
    ({"verdict": "ok", "conclusive": False}, (0, 10, 0)),
    ({"verdict": "rollback_recommended", "conclusive": True}, (20, 20, 0)),
    ({"verdict": "rollback_recommended", "conclusive": False}, (0, 10, 0)),
    ({"verdict": "rollback_recommended", "conclusive": True, "shadow": True}, (0, 0, 0)),
    ({"verdict": "a later one"}, (0, 10, 0)),
]


def test_the_exit_code_follows_from_verdict_and_fail_on() -> None:
    for answer, expected in VERDICTS:
        found = tuple(client.exit_code(answer, fail_on) for fail_on in ("rollback", "warning", "never"))
        assert found == expected, answer


def test_texts_of_the_server_are_one_line_without_commands() -> None:
    shown = client.clean("a\x1b[31mred\n:::error::x ###[z] ##vso[task.x]y ##[error]z\u202e")
    assert not set("\x1b\n\u202e") & set(shown)
    assert "::" not in shown
    assert "##" not in shown
    assert client.clean({"an": ["object"]}) == '{"an": ["object"]}'
    assert len(client.clean("x" * 100_000)) == 2000
    assert client.markdown("<img> [a](b) | `c`") == "&lt;img&gt; \\[a\\](b) \\| \\`c\\`"


def test_retry_after_is_a_number_or_a_date() -> None:
    for text, seconds in (("7", 7.0), ("", None), ("soon", None), ("-1", None), ("1e9", None)):
        assert client.retry_after_of(text) == seconds, text
    assert client.retry_after_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert client.retry_after_of("Wed, 21 Oct 2099 07:28:00 GMT") > 10**9


def test_what_stands_out_so_far_is_shown_in_levels() -> None:
    def levels(**changed: Any) -> dict[str, Any]:
        before = {"requests_per_sec": 50.0, "latency_p95": 120.0, "error_rate": 0.0}
        return {metric: {"before": was, "after": changed.get(metric, was)} for metric, was in before.items()}

    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, ""),
        (levels(), "nothing stands out"),
        (levels(error_rate=0.25), "error_rate 25 % (before 0 %)"),
        (levels(requests_per_sec=10), "requests_per_sec 10/s (before 50/s)"),
        (levels(latency_p95="wrong", error_rate=True), "nothing stands out"),
        ({"error_rate": 7, "latency_p95": {}, "x": None}, "nothing stands out"),
    )
    for given, shown in cases:
        assert client.standing_out(given) == shown
