"""The command line client, as pipelines run it: a subprocess, against real and hostile servers."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.processes import Installation, environment
from tests.system_tools import ROOT, run

pytestmark = pytest.mark.e2e

CLIENT = ROOT / "clients" / "seqpulse.py"
ID = "5f0c2a3e-0000-4000-8000-000000000000"
KEY = "sp_of-the-test"
# What CI systems, people and other tests set.
FOREIGN = ("GITHUB_", "CI", "GITLAB_", "JENKINS_", "CIRCLE", "BITBUCKET_", "TF_BUILD", "BUILDKITE", "DRONE", "NO_COLOR")


def variables(**values: str) -> dict[str, str]:
    """Return an environment without a CI system, and with `values`."""
    given = {"SEQPULSE_API_KEY": KEY, "SEQPULSE_ENV": "prod", **values}
    return {name: text for name, text in environment(**given).items() if name in given or not name.startswith(FOREIGN)}


def client(directory: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, CLIENT, *arguments, env=variables(**env), cwd=directory, timeout=60)


@pytest.fixture(scope="module")
def site(installation: Installation) -> dict[str, Any]:
    """A server, a poller and an endpoint, with a project that has the environments prod and other."""
    made = installation.project("cli")
    url = installation.start_web()
    installation.start_poller()
    endpoint = installation.start_endpoint()
    installation.rows("UPDATE projects_environment SET metrics_endpoint = %s", f"{endpoint}/good")
    return {"SEQPULSE_URL": url, "SEQPULSE_API_KEY": made["api_key"]}


def test_run_drives_a_deployment_to_its_verdict_and_steps_do_the_same(
    installation: Installation, site: dict[str, str], tmp_path: Path
) -> None:
    ci = {"CIRCLECI": "true", "CIRCLE_WORKFLOW_JOB_ID": "job-1", "CIRCLE_BRANCH": 'feature/"x"', **site}
    with installation.late_expiry():
        done = client(
            tmp_path, "run", "--commit", "abcdef1", "--author", "Ana", "--", "sh", "-c", "echo deployed", **ci
        )
    assert done.returncode == 0, done.stderr
    assert "deployed\n" in done.stdout
    [(branch, key, sha, author, verdict)] = installation.rows(
        "SELECT branch, idempotency_key, commit_sha, author, verdict FROM deployments"
        " JOIN deployment_verdicts ON deployment_id = deployments.id"
    )
    assert (branch, key, sha, author) == ('feature/"x"', "job-1", "abcdef1", "Ana")
    assert f"SeqPulse: {verdict.upper()}" in done.stdout
    assert "error_rate" in done.stdout
    assert site["SEQPULSE_API_KEY"] not in done.stdout + done.stderr
    # The same key: the same deployment. What is finished stays as it is.
    again = client(tmp_path, "trigger", **ci)
    assert again.returncode == 0
    assert "is known already" in again.stderr
    assert client(tmp_path, "finish", "failed", **ci).returncode == 0
    waited = client(tmp_path, "wait", "--json", **ci)
    answer = json.loads(waited.stdout)
    assert (answer["verdict"], answer["exit_code"]) == (verdict, 0)
    # Without the file of the id the key of the run finds it.
    (tmp_path / ".seqpulse-deployment").unlink()
    assert json.loads(client(tmp_path, "wait", "--json", **ci).stdout)["deployment_id"] == answer["deployment_id"]
    assert f"verdict      {verdict}" in client(tmp_path, "status", **site).stdout
    explained = client(tmp_path, "explain", **site)
    assert explained.returncode == 0
    assert all(check["sentence"] in explained.stdout for check in answer["checks"])
    # Change the verdict of the same deployment.
    installation.rows("UPDATE deployment_verdicts SET verdict = 'rollback_recommended', conclusive = true")
    assert client(tmp_path, "wait", **ci).returncode == 20
    assert client(tmp_path, "wait", "--fail-on", "never", **ci).returncode == 0


def test_the_client_is_served_and_runs_from_a_pipe(
    installation: Installation, site: dict[str, str], tmp_path: Path
) -> None:
    served = requests.get(f"{site['SEQPULSE_URL']}/cli/seqpulse.py", timeout=10)
    assert served.content == CLIENT.read_bytes()
    assert served.headers["Content-Type"].startswith("text/x-python")
    etag = served.headers["ETag"]
    assert hashlib.sha256(served.content).hexdigest() in etag
    again = requests.get(served.url, headers={"If-None-Match": etag}, timeout=10)
    assert (again.status_code, again.content) == (304, b"")
    assert requests.head(served.url, timeout=10).status_code == 200
    piped = run(sys.executable, "-", "status", env=variables(**site), cwd=tmp_path, input=served.text)
    assert piped.returncode == 0, piped.stderr
    assert "in prod" in piped.stdout
